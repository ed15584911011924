//! A failure inside livespan does not reach the host: its spans and threads continue, and later
//! events are recorded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use livespan::{
    LiveSpans, Retention,
    sse::{EndReason, Message, Subscribe},
};
use opentelemetry::trace::{Span as _, Tracer as _};
use serde_json::json;
use tracing::{dispatcher::with_default, info, info_span};

use super::{
    live_provider::{GatedStore, Watched, read, transcript},
    through_tracing::dispatch,
};
use crate::support::until;

#[test]
fn a_filter_that_panics_hides_the_span_and_harms_nothing() {
    let watched = Watched::with(LiveSpans::builder().filter(|facts| {
        assert!(facts.name() != "fatal", "the filter of a test panics");
        true
    }));
    with_default(&dispatch(&watched), || {
        info_span!("outer").in_scope(|| {
            info_span!("fatal").in_scope(|| info!("inside"));
            info!("after");
        });
        info_span!("next").in_scope(|| info!("still recorded"));
    });
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started outer",
            "ended outer",
            "started next",
            "ended next"
        ]
    );
    let event_names = |at: usize| {
        events[at]["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (event_names(2), event_names(4)),
        (vec![json!("after")], vec![json!("still recorded")])
    );
}

#[test]
fn a_store_that_panics_costs_its_events_and_nothing_else() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    let tracer = watched.tracer();
    let mut open = tracer.start("open");
    assert_eq!(watched.transcript(), ["process", "started open"]);
    gate.before_append(|| panic!("the store of a test panics"));
    tracer.start("refused").end();
    watched.provider.force_flush().unwrap_err();
    assert_eq!(
        watched.live.status().store.failure.as_deref(),
        Some("the event store panicked")
    );
    gate.before_append(|| Ok(()));
    tracer.start("next").end();
    open.end();
    until(|| watched.live.status().store.failure.is_none());
    let events = watched.events();
    assert_eq!(
        transcript(&events),
        [
            "process",
            "started open",
            "started refused",
            "ended refused",
            "gap",
            "lost refused: dropped",
            "started next",
            "ended next",
            "ended open"
        ]
    );
    assert_eq!(
        events[4]["lost"],
        json!({"starts": 1, "ends": 1, "other": 0})
    );
}

#[test]
fn a_process_whose_introduction_was_refused_is_introduced_again() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    gate.before_append(|| {
        Err(livespan::Error::store(
            "append",
            std::io::Error::other("not yet"),
        ))
    });
    watched.tracer().start("refused").end();
    watched.provider.force_flush().unwrap_err();
    gate.before_append(|| Ok(()));
    watched.tracer().start("next").end();
    assert_eq!(
        watched.transcript(),
        [
            "process",
            "started refused",
            "ended refused",
            "gap",
            "process",
            "lost refused: dropped",
            "started next",
            "ended next"
        ]
    );
}

#[test]
fn a_span_whose_end_the_store_refused_is_lost_and_not_running() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    let mut span = watched.tracer().start("job");
    assert_eq!(watched.transcript(), ["process", "started job"]);
    let refuses = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&refuses);
    gate.before_append(move || {
        if switch.load(Ordering::SeqCst) {
            Err(livespan::Error::store(
                "append",
                std::io::Error::other("the disk is full"),
            ))
        } else {
            Ok(())
        }
    });
    span.end();
    watched.provider.force_flush().unwrap_err();
    refuses.store(false, Ordering::SeqCst);
    watched.tracer().start("next").end();
    let mut lines = watched.transcript();
    assert_eq!(lines.remove(3), "gap");
    assert_eq!(
        lines,
        [
            "process",
            "started job",
            "ended job",
            "lost job: dropped",
            "started next",
            "ended next"
        ]
    );
    assert_eq!(watched.open_spans(), 0);
}

#[test]
fn a_host_thread_that_dies_in_a_span_leaves_it_ended() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let thread =
        thread::spawn(move || tracer.in_span("job", |_| panic!("the job of a test panics")));
    thread.join().unwrap_err();
    assert_eq!(
        watched.transcript(),
        ["process", "started job", "ended job"]
    );
}

#[test]
fn a_panic_of_the_logs_thread_does_not_reach_the_host_and_losses_are_counted() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    let tracer = watched.tracer();
    let mut open = tracer.start("open");
    assert_eq!(watched.transcript(), ["process", "started open"]);
    let mut subscription = watched.live.target().subscribe(Subscribe::all());
    gate.break_thread();
    tracer.start("lost").end();
    watched.provider.force_flush().unwrap_err();
    // More spans than the buffer could hold. None of them is kept.
    for _ in 0..200_000 {
        tracer.start("unseen").end();
    }
    open.end();
    watched.provider.force_flush().unwrap_err();
    watched.provider.shutdown().unwrap_err();
    watched.live.shutdown().unwrap_err();
    let status = watched.live.status();
    assert_eq!(
        status.ended,
        Some("the event log has ended: its thread panicked")
    );
    assert_eq!(
        (
            status.dropped.starts,
            status.dropped.ends,
            status.dropped.other
        ),
        (200_001, 200_002, 0)
    );
    let messages = read(&mut subscription);
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(messages[2], Message::End(EndReason::Shutdown));
}
