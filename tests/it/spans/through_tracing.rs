//! Spans that come through `tracing` and `tracing-opentelemetry`.

use std::{collections::BTreeSet, thread};

use livespan::LiveSpans;
use serde_json::{Value as Json, json};
use tracing::{
    Dispatch, Instrument as _, dispatcher::with_default, error, info, info_span, instrument,
    instrument::WithSubscriber as _,
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::live_provider::{Watched, remote_parent, transcript};
use crate::support::block_on;

/// Returns the dispatcher that a program would install globally.
pub(crate) fn dispatch(watched: &Watched) -> Dispatch {
    let layer = tracing_opentelemetry::layer().with_tracer(watched.tracer());
    Dispatch::new(tracing_subscriber::registry().with(layer))
}

fn watched_with<R>(run: impl FnOnce() -> R) -> (Watched, R) {
    let watched = Watched::new();
    let result = with_default(&dispatch(&watched), run);
    (watched, result)
}

#[test]
fn nested_spans_are_nested() {
    let (watched, ()) = watched_with(|| {
        info_span!("outer", cart.items = 3, user = "ann").in_scope(|| {
            let inner = info_span!("inner", total = tracing::field::Empty);
            inner.in_scope(|| info!(step = 1, "packed"));
            inner.record("total", 9.5);
        });
    });
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started outer",
            "started inner",
            "ended inner",
            "ended outer"
        ]
    );
    assert_eq!(events[2]["parentSpanId"], events[1]["spanId"]);
    let outer = &events[1]["attributes"];
    assert_eq!(
        (&outer["cart.items"], &outer["user"]),
        (&json!(3), &json!("ann"))
    );
    assert_eq!(outer["target"], json!(module_path!()));
    assert_eq!(events[2]["attributes"].get("total"), None, "not yet");
    assert_eq!(events[3]["attributes"]["total"], json!(9.5));
    let span_event = &events[3]["events"][0];
    assert_eq!(
        (&span_event["name"], &span_event["attributes"]["step"]),
        (&json!("packed"), &json!(1))
    );
}

#[test]
fn an_error_event_is_the_status_of_its_span() {
    let (watched, ()) = watched_with(|| info_span!("pay").in_scope(|| error!("card declined")));
    let ended = &watched.events()[2];
    assert_eq!(ended["status"]["code"], json!("ERROR"));
    assert_eq!(ended["events"][0]["name"], json!("card declined"));
}

#[instrument(name = "work", skip_all, fields(part = part))]
async fn work(part: i64) -> i64 {
    tokio::task::yield_now().await;
    doubled(part)
}

#[instrument]
fn doubled(part: i64) -> i64 {
    part * 2
}

#[test]
fn async_functions_are_spans_from_their_first_poll_on() {
    let (watched, sum) = watched_with(|| {
        block_on(async { tokio::join!(work(1), work(2)) }.instrument(info_span!("all")))
    });
    assert_eq!(sum, (2, 4));
    let events = watched.events();
    let started: Vec<&Json> = events
        .iter()
        .filter(|event| event["type"] == json!("started"))
        .collect();
    let names: Vec<&str> = started
        .iter()
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["all", "work", "work", "doubled", "doubled"]);
    let ids = |places: [usize; 2], field: &str| {
        BTreeSet::from(places.map(|place| started[place][field].to_string()))
    };
    assert_eq!(ids([1, 2], "parentSpanId"), ids([0, 0], "spanId"));
    assert_eq!(ids([3, 4], "parentSpanId"), ids([1, 2], "spanId"));
    assert_eq!(events.len(), 1 + 2 * 5);
}

#[test]
fn a_task_on_other_threads_is_watched_while_it_runs() {
    let watched = Watched::new();
    let dispatch = dispatch(&watched);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let (go, waiting) = tokio::sync::oneshot::channel::<()>();
    let (begin, has_begun) = std::sync::mpsc::channel();
    let job = async move {
        begin.send(()).unwrap();
        waiting.await.unwrap();
    };
    let span = with_default(&dispatch, || info_span!("job"));
    let task = runtime.spawn(job.instrument(span).with_subscriber(dispatch));
    has_begun.recv().unwrap();
    assert_eq!(watched.transcript(), ["process", "started job"]);
    go.send(()).unwrap();
    runtime.block_on(task).unwrap();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn a_request_from_elsewhere_has_a_remote_parent() {
    let (watched, ()) = watched_with(|| {
        let span = info_span!("request");
        span.set_parent(remote_parent()).unwrap();
        span.in_scope(|| info_span!("inner").in_scope(|| {}));
    });
    let events = watched.events();
    let trace = json!("00000000000000000000000000000abc");
    assert!(
        events[1..].iter().all(|event| event["traceId"] == trace),
        "{events:?}"
    );
    assert_eq!(
        (&events[1]["parentSpanId"], &events[1]["parentRemote"]),
        (&json!("0000000000000def"), &json!(true))
    );
    assert_eq!(
        (&events[2]["parentSpanId"], &events[2]["parentRemote"]),
        (&events[1]["spanId"], &json!(null))
    );
}

#[test]
fn a_span_that_follows_from_another_links_to_it() {
    let (watched, ()) = watched_with(|| {
        let one = info_span!("one");
        one.in_scope(|| {});
        let other = info_span!("other");
        other.follows_from(&one);
        other.in_scope(|| {});
    });
    let events = watched.events();
    let linked = events
        .iter()
        .find(|event| event["type"] == json!("ended") && event["name"] == json!("other"))
        .unwrap();
    let one = events
        .iter()
        .find(|event| event["name"] == json!("one"))
        .unwrap();
    let expected = json!([{"traceId": one["traceId"], "spanId": one["spanId"], "attributes": {}}]);
    assert_eq!(linked["links"], expected);
}

#[test]
fn many_threads_under_one_subscriber_lose_nothing() {
    let watched = Watched::new();
    let dispatch = dispatch(&watched);
    thread::scope(|scope| {
        for number in 0..8 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                with_default(dispatch, || {
                    for _ in 0..100 {
                        info_span!("outer", number)
                            .in_scope(|| info_span!("inner").in_scope(|| info!("said")));
                    }
                });
            });
        }
    });
    let transcript = watched.transcript();
    for (line, count) in [
        ("process", 1),
        ("started outer", 800),
        ("started inner", 800),
        ("ended inner", 800),
        ("ended outer", 800),
    ] {
        assert_eq!(
            transcript.iter().filter(|one| *one == line).count(),
            count,
            "{line}"
        );
    }
}

#[test]
fn the_current_trace_id_is_known_inside_a_tracing_span() {
    let (watched, inside) =
        watched_with(|| info_span!("request").in_scope(livespan::current_trace_id));
    assert_eq!(
        watched.events()[1]["traceId"],
        json!(inside.unwrap().to_string())
    );
}

#[test]
fn internals_of_http_libraries_are_hidden_by_default() {
    fn make_spans() {
        info_span!(target: "hyper::proto", "hidden").in_scope(|| {});
        info_span!(target: "h2", "hidden").in_scope(|| {});
        info_span!(target: "hyperdrive", "shown").in_scope(|| {});
        info_span!(target: "tower_http::trace", "request").in_scope(|| {});
    }
    let (watched, ()) = watched_with(make_spans);
    assert_eq!(
        watched.transcript(),
        [
            "process",
            "started shown",
            "ended shown",
            "started request",
            "ended request"
        ]
    );
    let watched = Watched::with(LiveSpans::builder().filter(|_| true));
    with_default(&dispatch(&watched), make_spans);
    assert_eq!(
        watched.transcript().len(),
        1 + 2 * 4,
        "the default filter hides spans although the app has its own filter"
    );
}
