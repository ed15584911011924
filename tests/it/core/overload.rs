//! A full buffer: no caller waits, refused events are counted, and readers get the counts.

use std::sync::{Mutex, mpsc};

use livespan::{
    SseTarget,
    sse::{Dropped, Subscribe},
};

use super::{
    connection::{Connection, Frame},
    stores::VecStore,
    test_event::{Note, builder, flush, put},
};
use crate::support::{PATIENCE, until};

/// A log whose store reports the start of each append, and then waits for the test's permit to
/// finish it.
struct Gated {
    target: SseTarget<Note>,
    begun: mpsc::Receiver<()>,
    release: mpsc::Sender<()>,
}

impl Gated {
    fn new(buffer_events: usize) -> Self {
        let (started, begun) = mpsc::channel();
        let (release, permits) = mpsc::channel::<()>();
        let permits = Mutex::new(permits);
        let mut store = VecStore::new(100_000);
        store.on_append = Box::new(move || {
            let _receiver_gone = started.send(());
            // If the test drops the sender, all waiting ends.
            let _permit = permits.lock().unwrap().recv();
            Ok(())
        });
        let target = builder()
            .store(store.share().0)
            .buffer_bytes(0)
            .buffer_events(buffer_events)
            .build()
            .unwrap();
        Self {
            target,
            begun,
            release,
        }
    }

    /// Makes the log's thread wait in its store.
    fn block(&self) {
        self.target.try_dispatch(&Note::new("first")).unwrap();
        self.begun.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn records_that_a_full_buffer_refuses_are_counted_and_reported_and_no_caller_waits() {
    let gated = Gated::new(256);
    gated.block();
    let mut accepted = 1_u64;
    let mut refused = 0_u64;
    for number in 0..2000 {
        match gated.target.try_dispatch(&Note::new(number.to_string())) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                refused += 1;
            }
        }
    }
    // Ordinary events may use 11/16 of the buffer: 22 of 32 in each of its 8 shards. The rest is
    // reserved for ends of spans.
    assert_eq!((accepted, refused), (1 + 8 * 22, 2000 - 8 * 22));
    assert_eq!(gated.target.dropped(), dropped(refused));
    let mut connection = Connection::open(&gated.target, Subscribe::all());
    assert_eq!(
        connection.transcript(),
        [""; 0],
        "an event was visible before it was stored"
    );

    drop(gated.release);
    flush(&gated.target);
    let frames = connection.frames();
    let (gaps, notes): (Vec<&Frame>, Vec<&Frame>) = frames
        .iter()
        .partition(|frame| frame.get("event") == Some("gap"));
    assert_eq!(notes.len() as u64, accepted);
    let [gap] = gaps.as_slice() else {
        panic!("expected one gap: {gaps:?}")
    };
    assert_eq!(
        gap.get("id"),
        Some(gated.target.head().to_string().as_str()),
        "the report of the drop is not the newest event"
    );
    assert_eq!(
        gap.get("data").unwrap(),
        format!(
            "{{\"type\":\"gap\",\"reason\":\"dropped\",\"lost\":{{\"starts\":0,\"ends\":0,\"other\":{refused}}}}}"
        )
    );
    assert_eq!(
        frames
            .iter()
            .filter_map(Frame::sequence)
            .collect::<Vec<_>>(),
        (1..=accepted + 1).collect::<Vec<_>>()
    );

    // The gap is replayed with the same counts, and the total does not change.
    let last = Connection::resume(&gated.target, Subscribe::all(), &accepted.to_string()).frames();
    assert_eq!(last, [Frame::clone(gap)]);
    assert_eq!(gated.target.dropped(), dropped(refused));
    put(&gated.target, [Note::new("after")]);
    assert_eq!(
        connection.transcript(),
        [format!("note {} after", accepted + 2)]
    );
}

fn dropped(other: u64) -> Dropped {
    let mut dropped = Dropped::default();
    dropped.other = other;
    dropped
}

#[test]
fn every_dispatched_event_is_delivered_or_dropped() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let target = builder()
        .buffer_bytes(0)
        .buffer_events(512)
        .build()
        .unwrap();
    let mut connection = Connection::open(&target, Subscribe::all());
    let accepted: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    (0..EACH)
                        .filter(|_| target.try_dispatch(&Note::new("x")).is_ok())
                        .count() as u64
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum()
    });
    let dropped = target.dropped().other;
    assert_eq!(accepted + dropped, THREADS * EACH);
    flush(&target);
    let (mut notes, mut reported) = (0, 0);
    let mut take = |connection: &mut Connection| {
        for frame in connection.frames() {
            match frame.get("event") {
                Some("gap") => reported += frame.json()["lost"]["other"].as_u64().unwrap(),
                _ => notes += 1,
            }
        }
        (notes, reported)
    };
    // The last drops may be reported a little later than the events that filled the buffer.
    let all = Mutex::new(&mut take);
    let connection = Mutex::new(&mut connection);
    until(|| all.lock().unwrap()(&mut connection.lock().unwrap()) == (accepted, dropped));
}

#[test]
fn a_dispatch_waits_for_room_and_returns_the_id() {
    let gated = Gated::new(0);
    gated.block();
    while gated.target.try_dispatch(&Note::new("x")).is_ok() {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let patient = gated.target.clone();
        let mut dispatch =
            tokio::spawn(async move { patient.dispatch(&Note::new("patient")).await });
        let early = tokio::time::timeout(super::test_event::AT_ONCE, &mut dispatch).await;
        assert!(early.is_err(), "the push did not wait for space");
        drop(gated.release);
        let id = tokio::time::timeout(PATIENCE, dispatch)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let stream = Connection::resume(&gated.target, Subscribe::all(), "0").frames();
        let found = stream
            .iter()
            .find(|frame| frame.get("data") == Some("patient"))
            .unwrap();
        assert_eq!(found.get("id"), Some(id.to_string().as_str()));
    });
}

#[test]
fn a_dispatch_that_waits_for_room_ends_when_a_log_with_a_hung_store_closes() {
    let gated = Gated::new(0);
    gated.block();
    while gated.target.try_dispatch(&Note::new("x")).is_ok() {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let patient = gated.target.clone();
        let dispatch = tokio::spawn(async move { patient.dispatch(&Note::new("patient")).await });
        tokio::task::yield_now().await;
        assert!(
            gated
                .target
                .shutdown(super::test_event::AT_ONCE)
                .unwrap_err()
                .is_timeout()
        );
        let error = tokio::time::timeout(PATIENCE, dispatch)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        assert!(error.is_closed(), "{error}");
    });
}
