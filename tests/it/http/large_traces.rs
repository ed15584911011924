//! A whole trace is written page by page. The memory for it does not grow with the trace, and the
//! number of concurrent responses is bounded. A part is never presented as the whole.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use livespan::{LiveSpans, Retention, SpanEvent, span::SpanStatus};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::app::{done, log, put, span, trace};
use crate::{core::stores::VecStore, support::PATIENCE};

const SPANS: u64 = 3000;

/// Returns ended spans of one trace, with a kilobyte in each.
fn spans(count: u64) -> impl Iterator<Item = SpanEvent> {
    (1..=count).flat_map(|number| {
        let text = format!("{number:01000}");
        [
            SpanEvent::started(trace(1), span(number), "row"),
            SpanEvent::ended(trace(1), span(number), "row", SpanStatus::Ok).attribute("text", text),
        ]
    })
}

fn fill(live: &LiveSpans, events: impl Iterator<Item = SpanEvent>) {
    let mut events = events.peekable();
    while events.peek().is_some() {
        put(live, events.by_ref().take(1000));
    }
}

async fn ask(live: &LiveSpans, query: &str) -> Response<Body> {
    let request = Request::builder()
        .uri(format!("/traces/{}{query}", trace(1)))
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    let answered = live.router().oneshot(request);
    timeout(PATIENCE, answered).await.unwrap().unwrap()
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = timeout(PATIENCE, body.frame()).await.unwrap()?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

/// Returns the rest of a body, and whether it ended without an error.
async fn rest(mut body: Body) -> (Vec<u8>, bool) {
    let mut rest = Vec::new();
    while let Some(piece) = next(&mut body).await {
        match piece {
            Ok(piece) => rest.extend_from_slice(&piece),
            Err(_broken) => return (rest, false),
        }
    }
    (rest, true)
}

fn ids(spans: &Value) -> Vec<u64> {
    let spans = spans.as_array().unwrap().iter();
    spans
        .map(|span| u64::from_str_radix(span["spanId"].as_str().unwrap(), 16).unwrap())
        .collect()
}

/// A payload whose bytes are counted while it is in memory.
struct HeldPayload {
    bytes: Vec<u8>,
    held: Arc<AtomicU64>,
}

impl AsRef<[u8]> for HeldPayload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldPayload {
    fn drop(&mut self) {
        self.held
            .fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_slow_client_holds_no_more_than_a_page() {
    let held = Arc::new(AtomicU64::new(0));
    let pages = Arc::new(AtomicU64::new(0));
    let mut store = VecStore::new(100);
    store.on_page = Box::new({
        let (held, pages) = (Arc::clone(&held), Arc::clone(&pages));
        move |page| {
            pages.fetch_add(1, Ordering::SeqCst);
            for event in page {
                let bytes = event.payload.to_vec();
                held.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                let held = Arc::clone(&held);
                event.payload = Bytes::from_owner(HeldPayload { bytes, held });
            }
        }
    });
    let live = LiveSpans::builder().store(store.share().0).build().unwrap();
    fill(&live, spans(SPANS));
    for format in ["", "?format=jsonl", "?format=otlp"] {
        pages.store(0, Ordering::SeqCst);
        let mut body = ask(&live, format).await.into_body();
        let mut whole = next(&mut body).await.unwrap().unwrap().to_vec();
        // The writing task gets every chance to read more.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        let read = pages.load(Ordering::SeqCst);
        let mut held_max = 0;
        while let Some(piece) = next(&mut body).await {
            whole.extend_from_slice(&piece.unwrap());
            held_max = held_max.max(held.load(Ordering::SeqCst));
        }
        assert!(held_max <= 64 * 1024, "{format}: {held_max} bytes");
        let all = pages.load(Ordering::SeqCst);
        assert!(all - read > 10, "{format}: {read} of {all} pages");
        assert!(whole.len() > 1000 * 3000, "{format}");
        assert_eq!(held.load(Ordering::SeqCst), 0, "{format}");
    }
}

/// Evicts the trace while its response is written. Returns the response, and whether it ended without an error.
async fn evicted_while_written(query: &str) -> (Vec<u8>, bool) {
    let live = LiveSpans::builder()
        .retention(Retention::default().events(4000))
        .build()
        .unwrap();
    put(&live, spans(500));
    let mut body = ask(&live, query).await.into_body();
    let mut begun = Vec::new();
    // The head of a document comes before any span.
    while begun.len() < 32 * 1024 {
        begun.extend_from_slice(&next(&mut body).await.unwrap().unwrap());
    }
    fill(&live, (2..5000).flat_map(|number| done(number, "other", 1)));
    let (rest, is_whole) = rest(body).await;
    begun.extend(rest);
    (begun, is_whole)
}

#[tokio::test]
async fn a_document_reports_that_a_part_was_evicted_while_it_was_written() {
    let (text, is_whole) = evicted_while_written("").await;
    assert!(is_whole);
    let document: Value = serde_json::from_slice(&text).unwrap();
    let shown = ids(&document["spans"]);
    assert!(!shown.is_empty() && shown.len() < 500, "{}", shown.len());
    assert_eq!(shown, (1..=shown.len() as u64).collect::<Vec<u64>>());
    let lost = 1000 - 2 * shown.len();
    let reported = document["incomplete"]["lost"].as_u64().unwrap();
    // Starts of ended spans appear in no list.
    assert!(reported.abs_diff(lost as u64) <= 1, "{reported} of {lost}");
    assert_eq!(document["incomplete"]["reason"], "evicted");
    assert_eq!(document["updates"], json!([]));
    assert_eq!(document["logs"], json!([]));
}

#[tokio::test]
async fn lines_end_with_a_gap_for_events_evicted_while_they_were_written() {
    let (text, is_whole) = evicted_while_written("?format=jsonl").await;
    assert!(is_whole);
    let text = String::from_utf8(text).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let gap: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    assert!(lines.len() < 1000);
    // The whole trace is gone, so it is unknown how many events it had.
    assert_eq!(
        gap,
        json!({"type": "gap", "reason": "evicted", "lost": null})
    );
}

#[tokio::test]
async fn otlp_reports_that_a_part_was_evicted_while_it_was_written() {
    let (text, is_whole) = evicted_while_written("?format=otlp").await;
    assert!(is_whole);
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document["incomplete"]["reason"], "evicted");
    let spans: usize = document["resourceSpans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["scopeSpans"][0]["spans"].as_array().unwrap().len())
        .sum();
    assert!(spans > 0 && spans < 500, "{spans}");
}

#[tokio::test]
async fn a_complete_trace_reports_no_losses() {
    let live = LiveSpans::builder()
        .retention(Retention::default().events(4000))
        .build()
        .unwrap();
    // Events of other traces are evicted before and while the response is written.
    fill(&live, (2..5000).flat_map(|number| done(number, "other", 1)));
    put(&live, spans(500));
    let mut body = ask(&live, "").await.into_body();
    let mut text = next(&mut body).await.unwrap().unwrap().to_vec();
    fill(
        &live,
        (5000..6000).flat_map(|number| done(number, "other", 1)),
    );
    let (rest, is_whole) = rest(body).await;
    text.extend(rest);
    assert!(is_whole);
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document.get("incomplete"), None);
    assert_eq!(ids(&document["spans"]), (1..=500).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_document_reports_that_its_rest_could_not_be_read() {
    let fails = Arc::new(AtomicU64::new(u64::MAX));
    let mut store = VecStore::new(100);
    store.on_read = Box::new({
        let fails = Arc::clone(&fails);
        move || {
            let left = fails.load(Ordering::SeqCst);
            fails.store(left.saturating_sub(1), Ordering::SeqCst);
            if left > 0 {
                return Ok(());
            }
            Err(livespan::Error::store(
                "read the disk",
                std::io::Error::other("it is broken"),
            ))
        }
    });
    let live = LiveSpans::builder().store(store.share().0).build().unwrap();
    fill(&live, spans(500));
    fails.store(2, Ordering::SeqCst);
    let (text, is_whole) = rest(ask(&live, "").await.into_body()).await;
    assert!(is_whole);
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert!(ids(&document["spans"]).len() < 500);
    assert_eq!(document["incomplete"], json!({"reason": "unreadable"}));
}

#[tokio::test]
async fn every_format_reports_damaged_events() {
    let mut store = VecStore::new(100);
    store.on_page = Box::new(|page| {
        for event in page {
            if matches!(event.sequence.get(), 7 | 8 | 500) {
                event.name = "no\nname".to_owned();
            }
        }
    });
    let live = LiveSpans::builder().store(store.share().0).build().unwrap();
    fill(&live, spans(500));
    let lost = json!({"reason": "damaged", "lost": 3});
    for format in ["", "?format=otlp"] {
        let (text, _) = rest(ask(&live, format).await.into_body()).await;
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["incomplete"], lost, "{format}");
    }
    let (text, _) = rest(ask(&live, "?format=jsonl").await.into_body()).await;
    let text = String::from_utf8(text).unwrap();
    let gap = r#"{"type":"gap","reason":"damaged","lost":1}"#;
    assert_eq!(text.lines().filter(|line| *line == gap).count(), 3);
}

/// Returns as many responses as may be written at the same time. None of them has been read.
async fn unread(live: &LiveSpans) -> Vec<Body> {
    let bodies = futures_util::stream::iter(0..LiveSpans::TRACES_AT_ONCE_MAX).then(async |_| {
        let response = ask(live, "").await;
        assert_eq!(response.status(), 200);
        response.into_body()
    });
    bodies.collect().await
}

#[tokio::test(start_paused = true)]
async fn traces_that_are_read_at_once_are_bounded() {
    let live = log();
    put(&live, spans(500));
    let mut bodies = unread(&live).await;
    let begun = tokio::time::Instant::now();
    let refused = ask(&live, "").await;
    assert_eq!(begun.elapsed(), LiveSpans::TRACE_PERMIT_TIMEOUT);
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(
        rest(refused.into_body()).await.0,
        br#"{"error":"8 traces are being read already: try again"}"#
    );
    let waiting = ask(&live, "");
    drop(bodies.pop());
    assert_eq!(waiting.await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_loses_its_permit_to_others() {
    let live = log();
    put(&live, spans(500));
    let stalled = unread(&live).await;
    let begun = tokio::time::Instant::now();
    let answer = loop {
        let answer = ask(&live, "").await;
        if answer.status() == 200 {
            break answer;
        }
    };
    let waited = begun.elapsed();
    let patience = LiveSpans::TRACE_STALL_TIMEOUT + LiveSpans::TRACE_PERMIT_TIMEOUT;
    assert!(waited >= LiveSpans::TRACE_STALL_TIMEOUT, "{waited:?}");
    assert!(waited <= patience, "{waited:?}");
    let (text, is_whole) = rest(answer.into_body()).await;
    assert!(is_whole);
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(ids(&document["spans"]).len(), 500);
    for body in stalled {
        assert!(
            !rest(body).await.1,
            "a response that was cut off ended without an error"
        );
    }
}
