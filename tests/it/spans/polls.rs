//! The polls of a span's task: whether the task works or waits, and a poll that blocks its thread,
//! reported during that poll.

use std::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::mpsc,
    task::{Context as TaskContext, Poll, Waker},
    thread,
};

use livespan::LiveFutureExt as _;
use opentelemetry::{
    Context,
    trace::{TraceContextExt as _, Tracer as _},
};
use serde_json::{Value as Json, json};

use super::live_provider::{Watched, transcript};
use crate::support::until;

fn context(watched: &Watched) -> Context {
    Context::new().with_span(watched.tracer().start("work"))
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// Returns the newest reported `task`.
fn task(watched: &Watched) -> Option<Json> {
    let events = watched.events();
    let task = |event: &Json| event.get("task").cloned();
    events.iter().rev().find_map(task)
}

fn until_polls(watched: &Watched, polls: u64) -> Json {
    until(|| task(watched).is_some_and(|task| task["polls"] == json!(polls)));
    task(watched).unwrap()
}

#[test]
fn a_span_shows_how_often_it_was_polled_and_how_long_it_worked_and_waited() {
    let watched = Watched::with_random_ids();
    let mut work = Box::pin(pending::<()>().live(context(&watched)));
    for _ in 0..3 {
        assert!(poll_once(work.as_mut()).is_pending());
    }
    let task = until_polls(&watched, 3);
    let nanos = |key: &str| task[key].as_u64().unwrap();
    assert_eq!(task["polling"], json!(null));
    assert!(nanos("longestPollNanos") <= nanos("busyNanos"), "{task}");
    assert!(nanos("busyNanos") > 0 && nanos("idleNanos") > 0, "{task}");
    assert_eq!(task.as_object().unwrap().len(), 5);
    // Further polls are reported until the end.
    assert!(poll_once(work.as_mut()).is_pending());
    drop(work);
    assert_eq!(until_polls(&watched, 4)["polling"], json!(null));
    let events = watched.events();
    assert_eq!(transcript(&events).last().unwrap(), "ended work");
}

#[test]
fn a_poll_is_shown_while_it_blocks_its_thread() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    let (release, released) = mpsc::channel::<()>();
    let blocked = thread::Builder::new()
        .name("worker-3".to_owned())
        .spawn(move || {
            let work = poll_fn(|_| {
                released.recv().unwrap();
                Poll::Ready(())
            });
            let mut work = Box::pin(work.live(cx));
            assert!(poll_once(work.as_mut()).is_ready());
        })
        .unwrap();
    let task = until_polls(&watched, 0);
    assert_eq!(task["polling"]["thread"], json!("worker-3"));
    let started = watched.events()[1]["timestamp"].clone();
    assert!(started.as_str() <= task["polling"]["since"].as_str());
    release.send(()).unwrap();
    blocked.join().unwrap();
    assert_eq!(until_polls(&watched, 1)["polling"], json!(null));
}

#[test]
fn a_future_that_is_ready_soon_adds_no_event_about_its_polls() {
    let watched = Watched::with_random_ids();
    let mut work = Box::pin(async {}.live(context(&watched)));
    assert!(poll_once(work.as_mut()).is_ready());
    // By the time the other span is reported, the worker has long seen this one.
    let mut other = Box::pin(pending::<()>().live(context(&watched)));
    assert!(poll_once(other.as_mut()).is_pending());
    until_polls(&watched, 1);
    let events = watched.events();
    let updates = events
        .iter()
        .filter(|event| event["type"] == "updated")
        .count();
    assert_eq!(updates, 1);
}
