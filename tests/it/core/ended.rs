//! Logs that end by themselves, because their thread panicked or their sequences are used up. Every
//! call and every stream reports this, and no caller waits for the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use livespan::{
    Error, SseTarget,
    sse::{Dropped, Epoch, EventId, Sequence, Subscribe},
    store::EpochStart,
};

use super::{
    connection::Connection,
    stores::{Shared, VecStore},
    test_event::{Note, builder, flush, key, put},
};
use crate::support::{PATIENCE, block_on, until};

const PANICKED: &str = "the event log has ended: its thread panicked";
const USED_UP: &str = "the event log has ended: its numbers are used up";
const END: &str = "end {\"reason\":\"shutdown\"}";

/// Returns a log whose thread panics at the next batch once the switch is on.
fn breakable() -> (SseTarget<Note>, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let mut store = VecStore::new(1000);
    // The log's thread calls this before each append. The log does not catch panics of this call,
    // because every store answers it at once.
    store.append_timeout = Box::new({
        let on = Arc::clone(&on);
        move || {
            assert!(!on.load(Ordering::SeqCst), "the log's thread panics");
            PATIENCE
        }
    });
    (builder().store(store.share().0).build().unwrap(), on)
}

fn assert_reason(error: &Error, why: &str) {
    assert!(error.is_closed(), "{error}");
    assert_eq!(error.to_string(), why);
}

fn dropped(other: u64) -> Dropped {
    let mut dropped = Dropped::default();
    dropped.other = other;
    dropped
}

#[test]
fn a_panic_of_the_worker_ends_every_stream_and_call_with_its_reason() {
    let (target, on) = breakable();
    let mut all = Connection::open(&target, Subscribe::all());
    let mut keyed = Connection::open(&target, Subscribe::to(key("a")));
    put(&target, [Note::new("kept").on("a")]);
    assert_eq!(target.status().ended, None);
    on.store(true, Ordering::SeqCst);
    assert_reason(
        &block_on(target.dispatch(&Note::new("lost"))).unwrap_err(),
        PANICKED,
    );
    assert_reason(&target.flush(PATIENCE).unwrap_err(), PANICKED);
    assert_eq!(target.status().ended, Some(PANICKED));
    for connection in [&mut all, &mut keyed] {
        assert_eq!(connection.transcript(), ["note 1 kept", END]);
    }
    // Stored events can still be read.
    let mut late = Connection::open(&target, Subscribe::all());
    assert_eq!(late.transcript(), ["note 1 kept", END]);
    assert_reason(
        &block_on(target.dispatch(&Note::new("late"))).unwrap_err(),
        PANICKED,
    );
    assert_reason(&target.shutdown(PATIENCE).unwrap_err(), PANICKED);
    assert_reason(&target.shutdown(PATIENCE).unwrap_err(), PANICKED);
    assert_eq!(target.dropped(), dropped(1));
}

#[test]
fn events_lost_by_a_panic_of_the_worker_are_counted_exactly() {
    const THREADS: u64 = 3;
    const EACH: u64 = 3_000;
    for round in 0..10 {
        let (target, on) = breakable();
        let dispatched = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        // Whether it was accepted or refused, the event is stored or counted.
                        let _accounted_for = target.try_dispatch(&Note::new("x"));
                        dispatched.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            until(|| dispatched.load(Ordering::SeqCst) > round * 500);
            on.store(true, Ordering::SeqCst);
        });
        // The log may have stored all events before the switch was on, so another event makes it panic.
        let _refused = target.try_dispatch(&Note::new("last"));
        target.flush(PATIENCE).unwrap_err();
        let shown = Connection::open(&target, Subscribe::all()).frames();
        let notes = shown
            .iter()
            .filter(|frame| frame.get("event") == Some("note"))
            .count() as u64;
        assert_eq!(notes + target.dropped().other, THREADS * EACH + 1);
    }
}

/// Returns a store whose newest event has this sequence.
fn at(head: Sequence) -> VecStore {
    let mut store = VecStore::new(1000);
    store.epochs = vec![EpochStart::new(Epoch::random(), Sequence::new(1))];
    store.evict_before(head.get());
    store.with_last(head)
}

#[test]
fn a_log_ends_when_its_sequences_are_used_up_and_reuses_none() {
    // The remaining sequences are reserved for the log's own events.
    let left = 1 << 16;
    let head = Sequence::MAX.get() - left - 4;
    let (store, kept) = at(Sequence::new(head)).share();
    let target = builder().store(store).build().unwrap();
    let mut connection = Connection::open(&target, Subscribe::all());
    put(&target, [Note::new("1"), Note::new("2")]);
    put(&target, [Note::new("3")]);
    let epoch = target.head().epoch();
    assert_eq!(
        target.head(),
        EventId::new(epoch, Sequence::new(head + 3)),
        "an event was lost before the numbers were used up"
    );
    assert_reason(
        &block_on(target.dispatch(&Note::new("4"))).unwrap_err(),
        USED_UP,
    );
    assert_reason(&target.flush(PATIENCE).unwrap_err(), USED_UP);
    assert_eq!(target.status().ended, Some(USED_UP));
    assert_eq!(target.dropped(), dropped(1));
    let transcript: Vec<String> = (0..=3)
        .map(|place| {
            let text = if place == 0 {
                "last".to_owned()
            } else {
                place.to_string()
            };
            format!("note {} {text}", head + place)
        })
        .chain([END.to_owned()])
        .collect();
    assert_eq!(connection.transcript(), transcript);
    drop(target);
    let again = builder().store(Shared(kept)).build();
    assert_reason(&again.unwrap_err(), USED_UP);
}

#[test]
fn a_log_without_free_sequences_is_not_opened() {
    for head in [Sequence::MAX, Sequence::new(u64::MAX)] {
        let error = builder().store(at(head).share().0).build().unwrap_err();
        assert_reason(&error, USED_UP);
    }
}

#[test]
fn an_id_with_any_number_resumes_with_a_gap() {
    let target = builder().build().unwrap();
    put(&target, [Note::new("x")]);
    for number in [u64::MAX, i64::MAX.cast_unsigned(), Sequence::MAX.get()] {
        let epoch = target.head().epoch();
        for id in [number.to_string(), format!("{epoch}-{number}")] {
            let transcript = Connection::resume(&target, Subscribe::all(), &id).transcript();
            assert_eq!(
                transcript,
                ["gap {\"lost\":null,\"reason\":\"epoch\"}", "note 1 x"]
            );
        }
    }
    flush(&target);
}
