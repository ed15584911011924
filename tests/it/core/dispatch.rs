//! Dispatching events: ids, order, and dispatches after the shutdown.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use futures_util::StreamExt as _;
use livespan::{
    SseTarget,
    sse::{EndReason, Event, Message, Subscribe},
};

use super::{
    connection::Connection,
    test_event::{Note, builder, put},
};
use crate::support::{PATIENCE, block_on, until};

#[test]
fn a_dispatch_returns_the_id_that_the_event_has_on_the_stream() {
    let target = builder().build().unwrap();
    let mut connection = Connection::open(&target, Subscribe::all());
    for number in 1..=20 {
        let id = block_on(target.dispatch(&Note::new(number.to_string()))).unwrap();
        let frames = connection.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].get("id"), Some(id.to_string().as_str()));
        assert_eq!(frames[0].get("data"), Some(number.to_string().as_str()));
    }
}

#[test]
fn a_dispatch_of_a_duplicate_is_an_error() {
    let target = builder().build().unwrap();
    let opening = Note::new("begin").on("job").opening(1).deduplicated();
    let id = block_on(target.dispatch(&opening)).unwrap();
    let error = block_on(target.dispatch(&opening)).unwrap_err();
    assert!(error.is_duplicate() && !error.is_store());
    assert_eq!(error.to_string(), "the log keeps this event already");
    let error = block_on(target.dispatch_all(&[Note::new("other"), opening])).unwrap_err();
    assert!(error.is_duplicate());
    let frames = Connection::open(&target, Subscribe::all()).frames();
    assert_eq!(frames[0].get("id"), Some(id.to_string().as_str()));
    let payloads: Vec<_> = frames.iter().map(|frame| frame.get("data")).collect();
    assert_eq!(payloads, [Some("begin"), Some("other")]);
}

#[test]
fn many_dispatches_at_once_each_get_their_own_id() {
    let target = builder().build().unwrap();
    let ids = block_on(async {
        let dispatches = (0..500).map(|number| {
            let target = target.clone();
            async move {
                (
                    number,
                    target
                        .dispatch(&Note::new(number.to_string()))
                        .await
                        .unwrap(),
                )
            }
        });
        futures_util::future::join_all(dispatches).await
    });
    let frames = Connection::open(&target, Subscribe::all()).frames();
    for (number, id) in ids {
        let frame = frames
            .iter()
            .find(|frame| frame.get("id") == Some(id.to_string().as_str()))
            .unwrap();
        assert_eq!(frame.get("data"), Some(number.to_string().as_str()));
    }
}

#[test]
fn one_threads_events_keep_their_order() {
    let target = builder().build().unwrap();
    thread::scope(|scope| {
        for writer in 0..4 {
            let target = &target;
            scope.spawn(move || {
                for number in 0..1000 {
                    target
                        .try_dispatch(&Note::new(format!("{writer} {number}")))
                        .unwrap();
                }
            });
        }
    });
    target.flush(PATIENCE).unwrap();
    let frames = Connection::open(&target, Subscribe::all()).frames();
    for writer in 0..4 {
        let own: Vec<&str> = frames
            .iter()
            .filter_map(|frame| frame.get("data")?.strip_prefix(&format!("{writer} ")))
            .collect();
        assert_eq!(
            own,
            (0..1000)
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_shutdown_delivers_dispatched_events_and_ends_every_stream() {
    let target = builder().build().unwrap();
    let mut connection = Connection::open(&target, Subscribe::all());
    let mut keyed = Connection::open(&target, Subscribe::to(super::test_event::key("a")));
    for number in 1..=3 {
        target.try_dispatch(&Note::new(number.to_string())).unwrap();
    }
    target.shutdown(PATIENCE).unwrap();
    let expected = [
        "note 1 1",
        "note 2 2",
        "note 3 3",
        "end {\"reason\":\"shutdown\"}",
    ];
    assert_eq!(connection.transcript(), expected);
    assert_eq!(keyed.transcript(), expected);
    assert_eq!(connection.transcript(), [""; 0], "a frame follows the end");
    assert_eq!(
        Connection::resume(&target, Subscribe::all(), "2").transcript(),
        expected[2..],
        "a reader that came after the shutdown got other frames"
    );
}

#[test]
fn events_are_refused_after_a_shutdown_and_a_second_shutdown_has_no_effect() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("1")]);
    target.shutdown(PATIENCE).unwrap();
    assert!(
        target
            .try_dispatch(&Note::new("2"))
            .unwrap_err()
            .is_closed()
    );
    assert!(
        block_on(target.dispatch(&Note::new("2")))
            .unwrap_err()
            .is_closed()
    );
    target.shutdown(PATIENCE).unwrap();
    target.flush(PATIENCE).unwrap();
    assert_eq!(target.head().sequence().get(), 1);
    assert_eq!(target.dropped(), livespan::sse::Dropped::default());
}

#[test]
fn every_accepted_event_is_stored_despite_a_concurrent_shutdown() {
    for _ in 0..200 {
        let target = builder().buffer_bytes(0).buffer_events(0).build().unwrap();
        let accepted: u64 = thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| dispatch_until_closed(&target)))
                .collect();
            target.shutdown(PATIENCE).unwrap();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .sum()
        });
        let frames = Connection::open(&target, Subscribe::all()).frames();
        let notes = frames
            .iter()
            .filter(|frame| frame.get("event") == Some("note"))
            .count() as u64;
        assert_eq!(notes, accepted);
    }
}

/// Runs writers, flushes, short-lived readers and the shutdown at the same time.
#[test]
fn every_event_is_stored_or_counted_and_every_reader_ends_in_a_race() {
    const EACH: u64 = 400;
    for round in 0..40 {
        let target = builder().buffer_bytes(0).buffer_events(0).build().unwrap();
        let taken = AtomicU64::new(0);
        let refused = AtomicU64::new(0);
        let tried = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        tried.fetch_add(1, Ordering::SeqCst);
                        match target.try_dispatch(&Note::new("x")) {
                            Ok(()) => taken.fetch_add(1, Ordering::SeqCst),
                            Err(error) if error.is_closed() => {
                                refused.fetch_add(1, Ordering::SeqCst)
                            }
                            Err(_counted) => 0,
                        };
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..20 {
                    target.flush(PATIENCE).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut connection = Connection::open(&target, Subscribe::all());
                    drop(connection.piece());
                    // A subscription gets five messages. If the shutdown comes first, it gets fewer and then ends.
                    let messages: Vec<Message> =
                        block_on(target.subscribe(Subscribe::all()).take(5).collect());
                    assert!(!messages.is_empty());
                }
            });
            scope.spawn(|| {
                until(|| tried.load(Ordering::SeqCst) > round);
                thread::scope(|both| {
                    both.spawn(|| target.shutdown(PATIENCE).unwrap());
                    both.spawn(|| target.shutdown(PATIENCE).unwrap());
                });
            });
        });
        let taken = taken.into_inner();
        let all = taken + refused.into_inner() + target.dropped().other;
        assert_eq!(all, 2 * EACH);
        let frames = Connection::open(&target, Subscribe::all()).frames();
        let stored = frames
            .iter()
            .filter(|frame| frame.get("event") == Some("note"))
            .count() as u64;
        assert_eq!(stored, taken);
        assert_eq!(frames.last().unwrap().get("event"), Some("end"));
        assert_eq!(target.subscribers(), 0);
    }
}

fn dispatch_until_closed(target: &SseTarget<Note>) -> u64 {
    let mut accepted = 0;
    loop {
        match target.try_dispatch(&Note::new("x")) {
            Ok(()) => accepted += 1,
            Err(error) if error.is_closed() => return accepted,
            Err(error) => assert!(error.is_full(), "{error}"),
        }
    }
}

#[test]
fn dropping_the_last_handle_stores_buffered_events_and_ends_streams() {
    let target = builder().build().unwrap();
    let subscription = target.subscribe(Subscribe::all());
    let other = target.clone();
    drop(target);
    other.try_dispatch(&Note::new("1").on("a")).unwrap();
    let epoch = other.head().epoch();
    drop(other);
    let messages: Vec<Message> = block_on(subscription.collect());
    let [
        Message::Event(Event {
            id,
            name,
            key,
            payload,
            ..
        }),
        Message::End(EndReason::Shutdown),
    ] = messages.as_slice()
    else {
        panic!("{messages:?}")
    };
    assert_eq!((id.epoch(), id.sequence().get()), (epoch, 1));
    assert_eq!(
        (name.as_str(), key, &payload[..]),
        ("note", &Some(super::test_event::key("a")), &b"1"[..])
    );
}

#[test]
fn open_subscriptions_are_counted() {
    let target = builder().build().unwrap();
    let one = Connection::open(&target, Subscribe::all());
    let two = target.subscribe(Subscribe::to(super::test_event::key("a")));
    assert_eq!(target.subscribers(), 2);
    drop(one);
    assert_eq!(target.subscribers(), 1);
    drop(two);
    assert_eq!(target.subscribers(), 0);
}
