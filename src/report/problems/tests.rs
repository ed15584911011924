//! Tests of the reported problems: slow spans that ended, ERROR logs, and events that the log lost.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::collect::{ProblemsQuery, problems};
use crate::{
    LiveSpans, Retention,
    report::running::{collect, span_now::SpanNow},
    span::{
        SpanStatus,
        event::{SpanEvent, SpanId, TraceId},
    },
    store::MemoryEventStore,
    trace::filter::TraceFilter,
    util::time::Timestamp,
};

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_767_225_600_000 + milliseconds)
}

fn trace(number: u8) -> TraceId {
    TraceId::from_bytes([number; 16]).unwrap()
}

fn span(number: u8) -> SpanId {
    SpanId::from_bytes([number; 8]).unwrap()
}

fn ended(of: u8, id: u8, name: &str, took: u64) -> SpanEvent {
    let event = SpanEvent::ended(trace(of), span(id), name, SpanStatus::Ok).service("shop");
    let event = event.started_at(at(0)).at(at(took));
    if id == 1 {
        event
    } else {
        event.parent(span(1))
    }
}

/// Dispatches thirty traces with the usual durations, then one whose payment takes fifty times as
/// long.
async fn put_slow(live: &LiveSpans) {
    for of in 1..=30 {
        let spans = [ended(of, 2, "pay", 20), ended(of, 1, "checkout", 30)];
        live.target().dispatch_all(&spans).await.unwrap();
    }
    let slow = [
        ended(31, 2, "pay", 1_000),
        ended(31, 3, "notify", 5),
        ended(31, 1, "checkout", 1_010),
    ];
    live.target().dispatch_all(&slow).await.unwrap();
}

async fn problem_lines(live: &LiveSpans, after: u64) -> Vec<String> {
    let query = ProblemsQuery {
        filter: &TraceFilter::default(),
        after,
        nanos_min: 10_000_000_000,
    };
    let text = problems(live, query).await.text(7_000);
    // Ages differ from run to run.
    let plain = |line: &str| {
        let parts = line.split(" · ").filter(|part| !part.ends_with(" ago"));
        parts.collect::<Vec<_>>().join(" · ")
    };
    text.lines().map(plain).collect()
}

#[tokio::test]
async fn a_span_that_took_far_longer_than_usual_is_reported_once_with_those_above() {
    let live = LiveSpans::builder().build().unwrap();
    put_slow(&live).await;
    assert_eq!(
        problem_lines(&live, 0).await,
        [
            "1 problem: 1 slower than usual",
            "slower than usual: pay [02020202] · shop · took 1.00 s (p95 20.4 ms of 31) · took long with it: 1 span above \
             · in trace 1f1f1f1f checkout",
        ]
    );
    let head = live.log().head();
    assert_eq!(problem_lines(&live, head).await, ["No problem is known."]);
}

#[tokio::test]
async fn equal_error_logs_are_reported_as_one() {
    let live = LiveSpans::builder().build().unwrap();
    let log = |id: u8, severity: &str, body: &str| {
        SpanEvent::log(trace(1), span(id), severity, body).service("shop")
    };
    let events = [
        SpanEvent::started(trace(1), span(1), "checkout").service("shop"),
        log(1, "ERROR", "card declined"),
        log(1, "WARN", "retrying"),
        log(2, "ERROR", "card declined"),
        log(2, "FATAL", "giving up"),
    ];
    live.target().dispatch_all(&events).await.unwrap();
    assert_eq!(
        problem_lines(&live, 0).await,
        [
            "2 problems: 2 error log",
            "error log: \"\" [02020202] · shop · \"giving up\" · in trace 01010101",
            "error log: \"\" [02020202] · shop · 2 records alike · \"card declined\" · in trace 01010101",
        ]
    );
    assert_eq!(
        problem_lines(&live, 4).await,
        [
            "1 problem: 1 error log",
            "error log: \"\" [02020202] · shop · \"giving up\" · in trace 01010101",
        ]
    );
}

#[tokio::test]
async fn losses_of_the_log_are_reported_with_the_problems() {
    let retention = Retention::default().events(40);
    let store = MemoryEventStore::with_retention(retention);
    let live = LiveSpans::builder().store(store).build().unwrap();
    put_slow(&live).await;
    let oldest = live.log().oldest();
    assert!(oldest > 3, "{oldest}");
    let lost = |count: u64, since: &str| {
        format!(
            "Retention has removed {count} events{since}: problems that were only in them are missing here."
        )
    };
    assert_eq!(
        problem_lines(&live, 0).await.last(),
        Some(&lost(oldest - 1, ""))
    );
    let since = lost(oldest - 3, " after the cursor");
    assert_eq!(problem_lines(&live, 2).await.last(), Some(&since));
}

/// Returns the start of an open span of trace 1 that began a minute ago.
fn open_for_a_minute(service: &str) -> SpanEvent {
    SpanEvent::started(trace(1), span(1), "serve")
        .service(service)
        .at(seconds_ago(60))
}

fn seconds_ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Returns the kinds of the reported problems.
async fn kinds(live: &LiveSpans) -> Vec<String> {
    let lines = problem_lines(live, 0).await;
    let kind = |line: &String| line.split_once(": ").map(|(kind, _)| kind.to_owned());
    lines.iter().skip(1).filter_map(kind).collect()
}

#[tokio::test]
async fn a_span_whose_children_come_and_go_is_not_quiet() {
    for (ago, expected) in [(1, &[][..]), (30, &["quiet"])] {
        let live = LiveSpans::builder().build().unwrap();
        let request = SpanEvent::ended(trace(1), span(2), "GET /", SpanStatus::Ok);
        let request = request.service("shop").parent(span(1));
        let request = request.started_at(seconds_ago(40)).at(seconds_ago(ago));
        let events = [open_for_a_minute("shop"), request];
        live.target().dispatch_all(&events).await.unwrap();
        assert_eq!(kinds(&live).await, expected, "{ago}");
    }
}

#[tokio::test]
async fn a_command_that_lasts_is_neither_quiet_nor_slow() {
    for (service, expected) in [("livespan run", &[][..]), ("shop", &["slower than usual"])] {
        let live = LiveSpans::builder().build().unwrap();
        let earlier = (2..100).map(|of| {
            let event = SpanEvent::ended(trace(of), span(1), "serve", SpanStatus::Ok);
            event.service(service).started_at(at(0)).at(at(1_000))
        });
        let mut events: Vec<SpanEvent> = earlier.collect();
        events.push(open_for_a_minute(service));
        live.target().dispatch_all(&events).await.unwrap();
        assert_eq!(kinds(&live).await, expected, "{service}");
        let running = collect::running(&live, &TraceFilter::default(), Timestamp::now()).await;
        let is_slower = |span: &SpanNow| span.usual.as_ref().is_some_and(|usual| usual.is_slower);
        let slower = running.traces[0]
            .spans
            .iter()
            .filter(|span| is_slower(span));
        assert_eq!(slower.count(), expected.len(), "{service}");
    }
}

/// With two thousand problems, the text stays within its bound and counts those that do not fit.
#[tokio::test]
async fn more_problems_than_fit_are_counted() {
    let live = LiveSpans::builder().build().unwrap();
    let logs: Vec<SpanEvent> = (0..2_000)
        .map(|number| SpanEvent::log(trace(1), span(1), "ERROR", format!("number {number}")))
        .collect();
    live.target().dispatch_all(&logs).await.unwrap();
    let lines = problem_lines(&live, 0).await;
    assert_eq!(lines[0], "2,000 problems: 200 error log");
    let left_out = 2_000 - (lines.len() as u64 - 2);
    let text = format!(
        "Left out: {}: narrow by q, or ask since a cursor.",
        crate::report::text::Plural(left_out, "problem")
    );
    assert_eq!(lines.last(), Some(&text));
    assert!(lines.iter().map(String::len).sum::<usize>() < 7_000);
}
