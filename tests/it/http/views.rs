//! An end user's view of a trace. It is decided and encoded once for all readers of the view.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{HeaderMap, Uri};
use livespan::{
    LiveSpans, SpanEvent, View,
    span::{SpanKind, SpanStatus},
};
use opentelemetry::{
    Context,
    trace::{
        Span as _, SpanContext, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use serde_json::{Value, json};

use super::app::{Frame, Stream, ask, at, log, provider, put, span, trace};
use crate::support::{PATIENCE, block_on};

fn watch(live: &LiveSpans, view: &View, uri: &'static str) -> Stream {
    let response = live.respond(trace(1), view, &HeaderMap::new(), &Uri::from_static(uri));
    Stream::of_body(Body::new(response.into_body()))
}

/// Returns all frames that a stream through the view sends until it ends.
async fn transcript(live: &LiveSpans, view: &View) -> Vec<Frame> {
    watch(live, view, "/").transcript("complete").await
}

/// Returns the events of an order with a step that only the shop may see.
fn order() -> Vec<SpanEvent> {
    let (root, query) = (span(1), span(2));
    let failed = SpanStatus::Error("card 4242 declined".to_owned());
    let sql = "SELECT * FROM cards";
    vec![
        SpanEvent::started(trace(1), root, "order")
            .service("shop")
            .kind(SpanKind::Server)
            .attribute("order.step", 1_i64)
            .attribute("user.email", "eve@example.com")
            .at(at(0)),
        SpanEvent::started(trace(1), query, sql)
            .service("db")
            .parent(root)
            .at(at(1)),
        SpanEvent::updated(trace(1), root, None)
            .attribute("order.step", 2_i64)
            .attribute("cache", "cold")
            .at(at(2)),
        SpanEvent::updated(trace(1), query, None)
            .attribute("order.step", 9_i64)
            .at(at(3)),
        SpanEvent::log(trace(1), root, "INFO", "called the bank").at(at(4)),
        SpanEvent::ended(trace(1), query, sql, SpanStatus::Ok)
            .service("db")
            .parent(root)
            .started_at(at(1))
            .at(at(5)),
        SpanEvent::ended(trace(1), root, "order", failed)
            .service("shop")
            .kind(SpanKind::Server)
            .attribute("order.step", 3_i64)
            .attribute("user.email", "eve@example.com")
            .started_at(at(0))
            .at(at(6)),
    ]
}

fn steps() -> View {
    View::new(|span| span.kind() == "SERVER").attributes(["order.step"])
}

#[tokio::test]
async fn a_user_sees_the_spans_and_attributes_that_were_named() {
    let live = log();
    put(&live, order());
    let frames = transcript(&live, &steps()).await;
    let shown: Vec<Value> = frames.iter().map(Frame::json).collect();
    let time = |milliseconds: u64| format!("2026-01-01T00:00:00.{milliseconds:03}000000Z");
    let process = &shown[0]["process"];
    let (trace, root) = (trace(1).to_string(), span(1).to_string());
    assert_eq!(
        shown,
        [
            json!({"type":"started","traceId":trace,"spanId":root,"parentSpanId":null,"name":"order","kind":"SERVER",
                "process":process,"attributes":{"order.step":1},"timestamp":time(0)}),
            json!({"type":"updated","traceId":trace,"spanId":root,"process":process,"attributes":{"order.step":2},
                "timestamp":time(2)}),
            json!({"type":"ended","traceId":trace,"spanId":root,"parentSpanId":null,"name":"order","kind":"SERVER",
                "process":process,"status":{"code":"ERROR"},"attributes":{"order.step":3},"startTimestamp":time(0),
                "timestamp":time(6)}),
        ]
    );
    let ids: Vec<u64> = frames.iter().map(Frame::sequence).collect();
    assert_eq!(ids, [1, 3, 7], "the events have other sequences");
}

#[tokio::test]
async fn a_span_that_was_hidden_stays_hidden_under_its_later_name() {
    let ended = |number, name: &str, scope: &str| {
        SpanEvent::ended(trace(1), span(number), name, SpanStatus::Ok)
            .parent(span(9))
            .scope(scope)
    };
    let started = |number, name: &str, scope: &str| {
        SpanEvent::started(trace(1), span(number), name)
            .parent(span(9))
            .scope(scope)
    };
    let live = log();
    put(&live, [SpanEvent::started(trace(1), span(9), "order")]);
    for (number, first, (name, scope)) in [
        (1, ("secret", "shop"), ("order 1", "shop")),
        (2, ("secret", ""), ("order 2", "shop")),
        (3, ("order", ""), ("order 3", "shop")),
        (4, ("order", "shop"), ("secret", "shop")),
        (5, ("order", "shop"), ("order 5", "shop")),
    ] {
        put(&live, [started(number, first.0, first.1)]);
        put(&live, [ended(number, name, scope)]);
    }
    let end = SpanEvent::ended(trace(1), span(9), "order", SpanStatus::Ok);
    put(&live, [end]);
    let view = View::new(|span| span.name().starts_with("order") && span.scope() == "shop");
    // A reader that connects after everything is decided gets the same.
    for _ in 0..2 {
        let lines = transcript(&live, &view).await;
        let lines: Vec<String> = lines
            .iter()
            .map(|frame| format!("{} {}", frame.event, frame.json()["name"].as_str().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                "ended order 3",
                "started order",
                "started order",
                "ended order 5"
            ]
        );
    }
}

/// Returns a parent context in the trace, as for a call from another process.
fn in_the_trace() -> Context {
    let (trace, span) = (1_u128.into(), opentelemetry::trace::SpanId::from(7));
    let caller = SpanContext::new(
        trace,
        span,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    Context::new().with_remote_span_context(caller)
}

#[tokio::test]
async fn no_unlisted_field_passes_a_view() {
    let live = log();
    let provider = provider(&live);
    let tracer = provider.tracer("shop::secret-scope");
    let mut job = tracer.start_with_context("job", &in_the_trace());
    job.record_error(&std::io::Error::other("secret-error"));
    job.set_attribute(opentelemetry::KeyValue::new("inner-note", "secret-value"));
    job.set_status(opentelemetry::trace::Status::error("secret-status"));
    job.end();
    put(&live, order());
    for view in [View::default(), steps(), View::new(|_| false)] {
        let shown: String = transcript(&live, &view)
            .await
            .iter()
            .map(|frame| frame.data.clone())
            .collect();
        for secret in [
            "secret", "eve@", "4242", "the bank", "\"shop\"", "resource", "cold", "\"db\"",
        ] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }
    let frames: Vec<Frame> = transcript(&live, &View::default().status_messages()).await;
    assert!(
        frames
            .iter()
            .any(|frame| frame.data.contains("card 4242 declined"))
    );
    let all: String = transcript(&live, &View::everything())
        .await
        .iter()
        .map(|frame| frame.data.clone())
        .collect();
    for shown in [
        "secret-error",
        "secret-value",
        "secret-status",
        "secret-scope",
        "called the bank",
        "resource",
    ] {
        assert!(all.contains(shown), "{shown}: {all}");
    }
}

#[tokio::test]
async fn a_view_decides_about_an_event_once_for_all_its_readers() {
    let live = log();
    let asked = Arc::new(AtomicUsize::new(0));
    let view = {
        let asked = Arc::clone(&asked);
        View::new(move |_span| {
            asked.fetch_add(1, Ordering::Relaxed);
            true
        })
    };
    let mut streams: Vec<Stream> = (0..100).map(|_| watch(&live, &view, "/")).collect();
    put(&live, order());
    for stream in &mut streams {
        let frames = stream.rest().await;
        assert_eq!(frames.len(), 2 + 4 + 1, "{frames:?}");
    }
    assert_eq!(transcript(&live, &view.clone()).await.len(), 4);
    // The rule has decided two starts and two ends. The view names no attribute, so nothing of an
    // update is shown.
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_reader_of_a_view_resumes_after_its_last_event() {
    let live = log();
    let view = steps();
    put(&live, order().into_iter().take(2));
    let mut stream = watch(&live, &view, "/");
    let started = stream.event("started").await;
    drop(stream);
    put(&live, order().into_iter().skip(2));
    let headers = HeaderMap::from_iter([(
        "last-event-id".parse().unwrap(),
        started.id.parse().unwrap(),
    )]);
    let response = live.respond(trace(1), &view, &headers, &Uri::from_static("/"));
    let rest = Stream::of_body(Body::new(response.into_body()))
        .transcript("complete")
        .await;
    let names: Vec<&str> = rest.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(names, ["updated", "ended"]);
}

#[tokio::test]
async fn spans_whose_view_function_panics_are_not_shown() {
    let live = log();
    put(&live, order());
    let view = View::new(|span| span.name() == "order" || panic!("the app's own mistake"));
    let names: Vec<String> = transcript(&live, &view)
        .await
        .into_iter()
        .map(|frame| frame.event)
        .collect();
    // Nothing of the update is shown: the view names no attribute.
    assert_eq!(names, ["started", "ended"]);
}

#[tokio::test]
async fn a_view_gets_scope_name_and_kind() {
    let live = log();
    let provider = provider(&live);
    let tracer = provider.tracer("shop::cart");
    let builder = tracer
        .span_builder("pay \"now\"")
        .with_kind(opentelemetry::trace::SpanKind::Client);
    tracer.build_with_context(builder, &in_the_trace()).end();
    live.target().flush(PATIENCE).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let view = {
        let seen = Arc::clone(&seen);
        View::new(move |span| {
            let facts = [span.scope(), span.name(), span.kind()].map(str::to_owned);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(facts);
            true
        })
    };
    transcript(&live, &view).await;
    let expected = ["shop::cart", "pay \"now\"", "CLIENT"].map(str::to_owned);
    assert_eq!(*seen.lock().unwrap(), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_tickets_holder_sees_what_tickets_show() {
    let shown = async |builder: livespan::LiveSpansBuilder| {
        let live = builder.build().unwrap();
        put(&live, order());
        let ticket = live.ticket(trace(1), Duration::from_secs(60));
        let path = format!("/traces/{}/sse?until=end&ticket={ticket}", trace(1));
        let response = ask(live.router(), &path).await;
        assert_eq!(response.status(), 200);
        let frames = Stream::of_body(response.into_body())
            .transcript("complete")
            .await;
        frames
            .iter()
            .map(|frame| frame.data.clone())
            .collect::<String>()
    };
    let by_default = shown(LiveSpans::builder()).await;
    assert!(
        by_default.contains("SELECT") && !by_default.contains("eve@"),
        "{by_default}"
    );
    let narrowed = shown(LiveSpans::builder().ticket_view(steps())).await;
    assert!(
        !narrowed.contains("SELECT") && narrowed.contains("order.step"),
        "{narrowed}"
    );
    let whole = shown(LiveSpans::builder().ticket_view(View::everything())).await;
    assert!(whole.contains("eve@"), "{whole}");
}

/// Returns a log with a trace that has this many open spans under its root, in memory.
fn crowd(spans: u64) -> LiveSpans {
    let live = log();
    let events = (1..=spans).map(|number| {
        let event = SpanEvent::started(trace(1), span(number), "query").at(at(1));
        if number == 1 {
            event
        } else {
            event.parent(span(1))
        }
    });
    put(&live, events);
    live
}

/// Polls the body until it waits. Returns the largest count of one poll, and the number of polls.
fn longest_poll(live: &LiveSpans, view: &View, calls: &AtomicUsize) -> (usize, usize) {
    let response = live.respond(trace(1), view, &HeaderMap::new(), &Uri::from_static("/"));
    let mut body = std::pin::pin!(response.into_body());
    let turns = Arc::new(Woken::default());
    let waker = std::task::Waker::from(Arc::clone(&turns));
    let (mut longest, mut polls) = (0, 0);
    loop {
        let before = calls.load(Ordering::SeqCst);
        let before_poll = turns.0.load(Ordering::SeqCst);
        let polled =
            http_body::Body::poll_frame(body.as_mut(), &mut std::task::Context::from_waker(&waker));
        polls += 1;
        longest = longest.max(calls.load(Ordering::SeqCst) - before);
        if polled.is_pending() && turns.0.load(Ordering::SeqCst) == before_poll {
            return (longest, polls);
        }
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_view_that_hides_almost_everything_yields_to_other_tasks() {
    const SPANS: usize = 20_000;
    let live = crowd(SPANS as u64);
    for shown in ["nothing", "query"] {
        let calls = Arc::new(AtomicUsize::new(0));
        let view = View::new({
            let calls = Arc::clone(&calls);
            move |span| {
                calls.fetch_add(1, Ordering::SeqCst);
                span.name() == shown
            }
        });
        let (longest, polls) = longest_poll(&live, &view, &calls);
        assert_eq!(calls.load(Ordering::SeqCst), SPANS);
        // A poll reads at most one block and the events before it.
        assert!(
            longest <= 512,
            "one of {polls} polls skipped {longest} spans"
        );
    }
}

/// A view whose rule reads the trace through the view itself, on another thread, before it decides.
fn nested(live: &LiveSpans) -> View {
    let own: Arc<OnceLock<View>> = Arc::default();
    let (live, view, asked) = (live.clone(), Arc::clone(&own), AtomicUsize::new(0));
    let rule = View::new(move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            let (live, view) = (live.clone(), view.get().unwrap().clone());
            let other = std::thread::spawn(move || block_on(transcript(&live, &view)));
            assert_eq!(other.join().unwrap().len(), 4);
        }
        true
    });
    assert!(own.set(rule.clone()).is_ok());
    rule
}

#[test]
fn a_rule_that_waits_for_another_reader_of_its_view_does_not_deadlock() {
    let live = log();
    put(&live, order());
    let view = nested(&live);
    let (counts, counted) = std::sync::mpsc::channel();
    std::thread::spawn(move || counts.send(block_on(transcript(&live, &view)).len()));
    assert_eq!(counted.recv_timeout(PATIENCE), Ok(4));
}
