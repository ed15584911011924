//! Requests while the log has no room, and while its store fails.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use super::*;
use crate::{
    error::Error,
    log::{batch::Batch, event::StreamKey},
    span::event::{SpanEvent, SpanId, TraceId},
    store::{Appended, EpochStart, EventStore, MemoryEventStore, PageLimit, ReadFuture},
    wire::id::Sequence,
};

/// A store in memory that blocks or fails on request.
#[derive(Debug)]
struct FaultyStore {
    memory: MemoryEventStore,
    /// `append` sends on the first channel, then waits until the test drops the other end of the
    /// second.
    gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    fails: Arc<AtomicBool>,
}

impl EventStore for FaultyStore {
    fn kind(&self) -> &'static str {
        "unwilling"
    }

    fn open(&self) -> Result<Sequence, Error> {
        self.memory.open()
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.memory.epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        if let Some((entered, released)) = self.gate.lock().unwrap().as_ref() {
            let _nobody_waits = entered.send(());
            let _released = released.recv();
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::store_failed("the store of a test fails"));
        }
        self.memory.append(first, batch)
    }

    fn oldest(&self) -> Sequence {
        self.memory.oldest()
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.memory.read_after(after, limit)
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.memory.read_streams_after(keys, after, limit)
    }

    fn append_timeout(&self) -> Option<std::time::Duration> {
        None
    }
}

fn one_span() -> Value {
    let span = json!({"traceId": TRACE, "spanId": SPAN, "name": "a", "startTimeUnixNano": START, "endTimeUnixNano": START + 1});
    request_of("go", &json!([span]))
}

#[tokio::test]
async fn a_full_buffer_refuses_the_whole_request() {
    let (release, released) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    let store = FaultyStore {
        memory: MemoryEventStore::new(),
        gate: Mutex::new(Some((enter, released))),
        fails: Arc::default(),
    };
    let live = LiveSpans::builder()
        .store(store)
        .buffer_events(0)
        .otlp(OtlpReceiver::default())
        .build()
        .unwrap();
    let trace = TraceId::from_bytes([1; 16]).unwrap();
    let span = SpanId::from_bytes([1; 8]).unwrap();
    let update = SpanEvent::updated(trace, span, None);
    live.target().try_dispatch(&update).unwrap();
    entered.recv().unwrap();
    // The worker takes nothing from the buffer now.
    while live.target().try_dispatch(&update).is_ok() {}
    let answer = post_json(&live, "/v1/traces", &one_span()).await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.json(),
        (
            503,
            json!({"code": 14, "message": "the buffer of the event log is full"})
        )
    );
    drop(release);
    live.shared
        .parts
        .runtime
        .buffer
        .flush(std::time::Duration::from_secs(30))
        .unwrap();
    let has_come = |live: &LiveSpans| {
        outline(live)
            .iter()
            .filter(|line| line.contains(SPAN))
            .count()
    };
    assert_eq!(has_come(&live), 0);
    let answer = post_json(&live, "/v1/traces", &one_span()).await;
    assert_eq!(answer.json(), (200, json!({})));
    assert_eq!(has_come(&live), 2);
}

/// Returns a log whose store fails while the flag is set.
fn failing() -> (LiveSpans, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let store = FaultyStore {
        memory: MemoryEventStore::new(),
        gate: Mutex::default(),
        fails: Arc::clone(&fails),
    };
    let builder = LiveSpans::builder()
        .store(store)
        .otlp(OtlpReceiver::default());
    (builder.build().unwrap(), fails)
}

fn valued(value: &str, end: Option<u64>) -> Value {
    let span = json!({
        "traceId": TRACE, "spanId": SPAN, "name": "a", "startTimeUnixNano": START,
        "endTimeUnixNano": end, "attributes": [{"key": "a", "value": {"stringValue": value}}],
    });
    request_of("nodejs", &json!([span]))
}

#[tokio::test]
async fn a_change_that_the_store_refused_is_reported_again() {
    let (live, fails) = failing();
    post_json(&live, "/v1/traces", &valued("1", None)).await;
    fails.store(true, Ordering::SeqCst);
    // If the span's last event is recent, the receiver defers this update. The request then succeeds at once, and its
    // sender does not repeat it.
    let first = post_json(&live, "/v1/traces", &valued("2", None)).await;
    let values = |live: &LiveSpans| -> Vec<String> {
        let events = events(live);
        let updates = events.iter().filter(|event| event["type"] == "updated");
        let value = |event: &Value| event["attributes"]["a"].as_str().unwrap().to_owned();
        updates.map(value).collect()
    };
    let begun = std::time::Instant::now();
    while values(&live).is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
    let refused = values(&live).len();
    fails.store(false, Ordering::SeqCst);
    if first.status == StatusCode::SERVICE_UNAVAILABLE {
        post_json(&live, "/v1/traces", &valued("2", None)).await;
    }
    while values(&live).len() == refused || live.log().is_degraded() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
    assert_eq!(values(&live).pop().as_deref(), Some("2"));
}

#[tokio::test]
async fn an_end_that_the_store_refused_does_not_start_its_span_again() {
    let (live, fails) = failing();
    post_json(&live, "/v1/traces", &valued("1", None)).await;
    fails.store(true, Ordering::SeqCst);
    let end = valued("2", Some(START + SECOND));
    let refused = post_json(&live, "/v1/traces", &end).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    fails.store(false, Ordering::SeqCst);
    let taken = post_json(&live, "/v1/traces", &end).await;
    assert_eq!(taken.json(), (200, json!({})));
    let started = format!("started {SPAN} a");
    let lines = outline(&live);
    let starts = lines.iter().filter(|line| **line == started).count();
    assert_eq!(
        (starts, lines.last()),
        (1, Some(&format!("ended {SPAN} a")))
    );
    assert_eq!(events(&live).pop().unwrap()["lost"], Value::Null);
}

#[tokio::test]
async fn spans_that_the_store_refused_are_accepted_when_sent_again() {
    let (live, fails) = failing();
    fails.store(true, Ordering::SeqCst);
    let answer = post_json(&live, "/v1/traces", &one_span()).await;
    assert_eq!(
        answer.json(),
        (
            503,
            json!({"code": 14, "message": "the event store failed: send it again"})
        )
    );
    fails.store(false, Ordering::SeqCst);
    let answer = post_json(&live, "/v1/traces", &one_span()).await;
    assert_eq!(answer.json(), (200, json!({})));
    // Readers got the events once while the store failed, and again with ids from which they can
    // resume.
    let lines = outline(&live);
    let (started, ended) = (format!("started {SPAN} a"), format!("ended {SPAN} a"));
    assert_eq!(lines.get(..2), Some(&[started.clone(), ended.clone()][..]));
    assert_eq!(lines.last_chunk(), Some(&[started, ended]));
    assert_eq!(events(&live).pop().unwrap()["lost"], Value::Null);
}

#[tokio::test]
async fn log_records_that_the_store_refused_are_accepted_when_sent_again() {
    let (live, fails) = failing();
    let record = json!({"timeUnixNano": START, "body": {"stringValue": "a"}});
    let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]});
    fails.store(true, Ordering::SeqCst);
    let answer = post_json(&live, "/v1/logs", &request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    fails.store(false, Ordering::SeqCst);
    let has_come = |live: &LiveSpans| {
        let events = events(live);
        events.iter().filter(|event| event["type"] == "log").count()
    };
    let refused = has_come(&live);
    for _ in 0..2 {
        let answer = post_json(&live, "/v1/logs", &request).await;
        assert_eq!(answer.json(), (200, json!({})));
    }
    assert_eq!(has_come(&live), refused + 1);
}
