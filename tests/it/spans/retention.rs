//! Retention never hides a running span.

use livespan::{
    LiveSpans, Retention,
    sse::{Message, Subscribe},
};
use opentelemetry::trace::{Span as _, Tracer as _};
use serde_json::json;

use super::live_provider::{Watched, payloads, read, stream_of, transcript};
use crate::support::PATIENCE;

const OTHERS: usize = 10_000;

/// Returns a job that still runs after its log has removed thousands of later events.
fn long_job() -> (Watched, opentelemetry_sdk::trace::Span) {
    let watched = Watched::with(LiveSpans::builder().retention(Retention::default().events(50)));
    let tracer = watched.tracer();
    let job = tracer.start("job");
    for _ in 0..OTHERS {
        drop(tracer.start("other"));
    }
    watched.live.target().flush(PATIENCE).unwrap();
    (watched, job)
}

fn sequences(messages: &[Message]) -> Vec<u64> {
    let sequence = |message: &Message| match message {
        Message::Event(event) => event.id.sequence().get(),
        other => panic!("{other:?} is not an event"),
    };
    messages.iter().map(sequence).collect()
}

#[test]
fn a_running_job_comes_first_for_a_reader_of_everything() {
    let (watched, mut job) = long_job();
    let messages = read(&mut watched.live.target().subscribe(Subscribe::all()));
    let head = 2 + 2 * OTHERS as u64;
    let expected: Vec<u64> = [1, 2].into_iter().chain(head - 48..=head).collect();
    assert_eq!(
        sequences(&messages),
        expected,
        "the readable events are not the process, the start of the job and the newest ones"
    );
    assert_eq!(
        transcript(&payloads(&messages))[..2],
        ["process", "started job"]
    );
    assert_eq!(
        (watched.live.status().retained_events, watched.open_spans()),
        (50, 1)
    );
    job.end();
    let transcript = watched.transcript();
    assert_eq!(
        (transcript[0].as_str(), transcript.len()),
        ("process", 51),
        "not exactly the process and the newest 50 events can be read"
    );
    assert_eq!(
        transcript[50], "ended job",
        "the newest event is not the end of the job"
    );
}

#[test]
fn a_running_job_is_complete_for_its_reader() {
    let (watched, mut job) = long_job();
    let started = watched.events().remove(1);
    let mut reader = watched
        .live
        .target()
        .subscribe(Subscribe::to(stream_of(&started)));
    let messages = read(&mut reader);
    assert_eq!(sequences(&messages), [1, 2]);
    assert_eq!(transcript(&payloads(&messages)), ["process", "started job"]);
    job.end();
    watched.live.target().flush(PATIENCE).unwrap();
    let ended = payloads(&read(&mut reader)).remove(0);
    assert_eq!(
        (&ended["name"], &ended["startTimestamp"]),
        (&json!("job"), &started["timestamp"])
    );
}

#[test]
fn a_job_that_outlived_its_trace_in_memory_is_lost_at_the_shutdown() {
    let (watched, job) = long_job();
    watched.provider.shutdown().unwrap();
    drop(job);
    let transcript = watched.transcript();
    assert_eq!(
        transcript.last().map(String::as_str),
        Some("lost job: shutdown")
    );
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn memory_is_bounded_by_bytes_too() {
    let retention = Retention::default().bytes(64 * 1024);
    let watched = Watched::with(LiveSpans::builder().retention(retention));
    let tracer = watched.tracer();
    for _ in 0..2000 {
        tracer.start("x".repeat(1000)).end();
    }
    watched.live.target().flush(PATIENCE).unwrap();
    let status = watched.live.status();
    assert!(status.retained_bytes <= 64 * 1024, "{status:?}");
    assert!(
        status.retained_streams <= status.retained_events,
        "{status:?}"
    );
}
