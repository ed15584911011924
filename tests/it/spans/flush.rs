//! The promises of flush and shutdown: they work on any thread, and they return when the store
//! hangs.

use std::{sync::Barrier, thread, time::Duration};

use livespan::{LiveSpans, Retention, sse::Subscribe};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkError,
    trace::{RandomIdGenerator, SpanProcessor as _},
};
use serde_json::json;

use crate::support::until;

use super::live_provider::{GatedStore, Watched, payloads, provider_of, read, transcript};

/// A time limit for a flush to a store that hangs.
const SOON: Duration = Duration::from_millis(50);

#[test]
fn spans_that_ended_before_a_flush_are_visible_after_it() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let mut reader = watched.live.target().subscribe(Subscribe::all());
    for round in 0..100 {
        tracer.start(format!("job{round}")).end();
        watched.provider.force_flush().unwrap();
        let events = payloads(&read(&mut reader));
        let skip = usize::from(round == 0);
        assert_eq!(
            transcript(&events)[skip..],
            [format!("started job{round}"), format!("ended job{round}")]
        );
    }
}

#[test]
fn each_thread_sees_the_spans_that_it_ended_before_its_flush() {
    let watched = Watched::new();
    thread::scope(|scope| {
        for number in 0..8 {
            let (watched, name) = (&watched, format!("job{number}"));
            scope.spawn(move || {
                for round in 1..=20 {
                    watched.tracer().start(name.clone()).end();
                    watched.provider.force_flush().unwrap();
                    let events = payloads(&read(
                        &mut watched.live.target().subscribe(Subscribe::all()),
                    ));
                    let mine = events.iter().filter(|event| {
                        event["type"] == json!("ended") && event["name"] == json!(name)
                    });
                    assert_eq!(mine.count(), round);
                }
            });
        }
    });
}

#[test]
fn a_flush_to_a_hung_store_times_out() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    gate.shut();
    let span = watched.tracer().start("job");
    assert!(watched.live.target().flush(SOON).unwrap_err().is_timeout());
    drop(span);
    let result = watched.provider.shutdown_with_timeout(SOON);
    assert!(result.is_err(), "{result:?}");
    assert!(
        watched.provider.shutdown_with_timeout(SOON).is_err(),
        "the SDK accepted a second shutdown"
    );
    gate.open();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn a_processor_reports_its_timeout() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    gate.shut();
    drop(watched.tracer().start("job"));
    let processor = watched.live.span_processor();
    let result = processor.shutdown_with_timeout(SOON);
    assert!(
        matches!(result, Err(OTelSdkError::Timeout(timeout)) if timeout == SOON),
        "{result:?}"
    );
    assert!(
        processor.shutdown_with_timeout(SOON).is_ok(),
        "a second shutdown failed"
    );
    gate.open();
}

#[test]
fn a_store_that_refuses_events_makes_the_flush_fail() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    gate.before_append(|| {
        Err(livespan::Error::store(
            "append",
            std::io::Error::other("the disk is full"),
        ))
    });
    watched.tracer().start("job").end();
    let result = watched.provider.force_flush();
    assert!(
        matches!(result, Err(OTelSdkError::InternalFailure(_))),
        "{result:?}"
    );
    gate.before_append(|| Ok(()));
    watched.tracer().start("next").end();
    until(|| watched.provider.force_flush().is_ok());
}

#[test]
fn the_longest_possible_timeout_causes_no_overflow() {
    let watched = Watched::new();
    let processor = watched.live.span_processor();
    processor.shutdown_with_timeout(Duration::MAX).unwrap();
    drop(watched.tracer().start("job"));
    watched
        .provider
        .shutdown_with_timeout(Duration::MAX)
        .unwrap();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

/// Flushes and shuts down like a program at its end. This must work on any thread and in any
/// runtime.
fn flush_and_shut_down(watched: &Watched) {
    watched.tracer().start("job").end();
    watched.provider.force_flush().unwrap();
    assert_eq!(watched.live.status().head.sequence().get(), 3);
    let open = watched.tracer().start("open");
    watched.provider.shutdown().unwrap();
    watched.live.shutdown().unwrap();
    drop(open);
    let events = payloads(&read(&mut watched.live.target().subscribe(Subscribe::all()))[..5]);
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started job",
            "ended job",
            "started open",
            "lost open: shutdown"
        ]
    );
}

#[test]
fn flush_and_shutdown_work_outside_of_any_runtime() {
    flush_and_shut_down(&Watched::new());
}

#[test]
fn flush_and_shutdown_work_on_the_only_thread_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { flush_and_shut_down(&Watched::new()) });
}

#[test]
fn flush_and_shutdown_work_on_every_thread_of_a_runtime_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| runtime.spawn(async { flush_and_shut_down(&Watched::new()) }))
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

#[test]
fn flush_and_shutdown_work_inside_a_span() {
    let watched = Watched::new();
    watched.tracer().in_span("job", |_| {
        watched.provider.force_flush().unwrap();
        watched.provider.shutdown().unwrap();
    });
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "lost job: shutdown"]
    );
}

#[test]
fn shutdown_flush_and_spans_may_race() {
    for _ in 0..10 {
        let watched = Watched::new();
        let other = provider_of(&watched.live)
            .with_id_generator(RandomIdGenerator::default())
            .build();
        let barrier = Barrier::new(7);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let tracer = watched.tracer();
                    barrier.wait();
                    for _ in 0..300 {
                        tracer.in_span("outer", |_| tracer.start("inner").end());
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..20 {
                        watched.provider.force_flush().unwrap();
                        other.force_flush().unwrap();
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    // Only the first shutdown succeeds.
                    let _already_shut_down = watched.provider.shutdown();
                });
            }
        });
        other.tracer("test").start("after").end();
        let transcript = watched.transcript();
        assert_eq!(
            transcript[transcript.len() - 2..],
            ["started after", "ended after"]
        );
        assert_eq!(watched.open_spans(), 0, "a span is still open");
    }
}
