//! Named await points of open spans, visible while the spans wait.

use std::{
    future::{Future, pending, ready},
    pin::Pin,
    task::{Context as TaskContext, Poll, Waker},
};

use livespan::LiveFutureExt as _;
use opentelemetry::{
    Context,
    trace::{Span as _, TraceContextExt as _, Tracer as _},
};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::live_provider::Watched;
use crate::support::until;

fn context(watched: &Watched) -> Context {
    Context::new().with_span(watched.tracer().start("work"))
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// Returns the `updated` events so far, except those that only report polls: the module `polls`
/// tests these.
fn updates(watched: &Watched) -> Vec<Json> {
    let mut events = watched.events();
    events.retain_mut(|event| {
        let fields = event.as_object_mut().unwrap();
        fields.remove("task");
        // Every update has five fields: type, trace id, span id, process and timestamp. Any further
        // field is a change.
        fields["type"] == "updated" && fields.len() > 5
    });
    events
}

/// Waits until the newest update about an await point has this name.
fn until_awaiting(watched: &Watched, name: Option<&str>) -> Json {
    let newest = || {
        let awaiting = |event: &Json| event.get("awaiting").cloned();
        updates(watched).iter().rev().find_map(awaiting)
    };
    until(|| newest().is_some_and(|awaiting| awaiting["name"].as_str() == name));
    newest().unwrap()
}

#[test]
fn a_span_shows_its_await_point_and_since_when_until_the_wait_is_over() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    let (answer, asked) = oneshot::channel();
    let mut work = Box::pin(asked.awaiting("redis get").live(cx.clone()));
    assert!(poll_once(work.as_mut()).is_pending());
    let awaiting = until_awaiting(&watched, Some("redis get"));
    let [update] = updates(&watched).try_into().unwrap();
    let started = watched.events()[1].clone();
    let since = awaiting["since"].as_str().unwrap();
    let [from, to] = [&started, &update].map(|event| event["timestamp"].as_str().unwrap());
    assert!(from <= since && since <= to, "{from} {since} {to}");
    let expected = json!({
        "type": "updated",
        "traceId": started["traceId"],
        "spanId": started["spanId"],
        "process": started["process"],
        "awaiting": {"name": "redis get", "since": since},
        "timestamp": update["timestamp"],
    });
    assert_eq!(update, expected);
    answer.send(7).unwrap();
    assert_eq!(poll_once(work.as_mut()), Poll::Ready(Ok(7)));
    until_awaiting(&watched, None);
    drop(cx);
    let ends: Vec<Json> = watched.events().split_off(4);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["type"], "ended");
}

#[test]
fn the_oldest_of_several_waiting_futures_is_shown() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    let mut all: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for number in 0..100 {
        let waits = pending::<()>().awaiting(format!("reply {number}"));
        all.push(Box::pin(waits.live(cx.clone())));
        assert!(poll_once(all[number].as_mut()).is_pending());
    }
    let first = until_awaiting(&watched, Some("reply 0"));
    drop(all.remove(0));
    let second = until_awaiting(&watched, Some("reply 1"));
    assert!(first["since"].as_str() <= second["since"].as_str());
    // Dropping one in the middle changes nothing. Dropping the last ones leaves no await point.
    drop(all.remove(50));
    all.truncate(1);
    until_awaiting(&watched, Some("reply 1"));
    drop(all);
    until_awaiting(&watched, None);
}

#[test]
fn the_inner_of_two_nested_await_points_is_shown() {
    let watched = Watched::with_random_ids();
    let inner = async { pending::<()>().awaiting("redis get").await };
    let mut work = Box::pin(inner.awaiting("user").live(context(&watched)));
    assert!(poll_once(work.as_mut()).is_pending());
    until_awaiting(&watched, Some("redis get"));
}

#[test]
fn a_future_that_does_not_wait_or_has_no_span_reports_nothing() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    let mut work = Box::pin(ready(7).awaiting("nothing").live(cx.clone()));
    assert_eq!(poll_once(work.as_mut()), Poll::Ready(7));
    let mut outside = Box::pin(pending::<()>().awaiting("nobody knows"));
    assert!(poll_once(outside.as_mut()).is_pending());
    // A span that has ended no longer waits.
    cx.span().end();
    let mut late = Box::pin(pending::<()>().awaiting("too late").live(cx));
    assert!(poll_once(late.as_mut()).is_pending());
    drop(late);
    assert_eq!(
        watched.transcript(),
        ["process", "started work", "ended work"]
    );
}

#[test]
fn a_span_that_ends_while_it_waits_gets_no_further_update() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    let mut work = Box::pin(pending::<()>().awaiting("redis get").live(cx.clone()));
    assert!(poll_once(work.as_mut()).is_pending());
    until_awaiting(&watched, Some("redis get"));
    cx.span().end();
    drop((work, cx));
    let mut span = watched.tracer().start("after");
    span.end();
    let after = watched.transcript().split_off(3);
    assert_eq!(after, ["ended work", "started after", "ended after"]);
}

#[test]
fn an_await_point_of_a_span_context_belongs_to_the_process_of_that_span() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched);
    // A second provider, whose process is newer than that of the span.
    let _other = watched.live.span_processor();
    let mut work = Box::pin(pending::<()>().awaiting("redis get").live(cx.clone()));
    assert!(poll_once(work.as_mut()).is_pending());
    until_awaiting(&watched, Some("redis get"));
    let started = watched.events()[1].clone();
    let [update] = updates(&watched).try_into().unwrap();
    assert_eq!(update["process"], started["process"]);
}
