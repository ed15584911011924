//! Tests of the buffer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Barrier, Mutex, atomic::AtomicBool},
    thread,
};

use super::{shard::SHARDS, *};
use crate::{
    ingest::write_buf::WriteBuf,
    util::sync::{atomic::Ordering, lock},
    wire::{control::Dropped, id::EventId},
};

fn push(buffer: &IngestBuffer, class: RecordClass, text: &str) -> Result<(), PushError> {
    buffer.push(class, |buf| buf.put_slice(text.as_bytes()))
}

/// Drains the buffer once. Returns the records below `cut`.
fn drained(drain: &mut Drain, buffer: &IngestBuffer, cut: u64) -> Vec<String> {
    drain.take_records(buffer, cut);
    drain
        .records_below_cut()
        .map(|(_, record)| String::from_utf8(record.to_vec()).unwrap())
        .collect()
}

#[test]
fn records_are_drained_in_the_order_of_their_pushes_across_threads() {
    const EACH: u64 = 2000;
    let buffer = IngestBuffer::new(0, 1 << 20);
    let mut drain = Drain::new(&buffer);
    let (turn, done) = (Mutex::new(0_u64), AtomicBool::new(false));
    let mut all = Vec::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        // The lock orders the pushes of all threads.
                        let mut next = lock(&turn);
                        push(&buffer, RecordClass::Other, &next.to_string()).unwrap();
                        *next += 1;
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        loop {
            let last = done.load(Ordering::SeqCst);
            all.extend(drained(&mut drain, &buffer, buffer.next_number()));
            if last {
                break;
            }
        }
    });
    let expected: Vec<String> = (0..8 * EACH).map(|number| number.to_string()).collect();
    assert_eq!(all, expected);
}

#[test]
fn records_above_the_cut_wait_for_the_next_drain() {
    let buffer = IngestBuffer::new(0, 1000);
    let mut drain = Drain::new(&buffer);
    for text in ["a", "b", "c", "d", "e"] {
        push(&buffer, RecordClass::Other, text).unwrap();
    }
    assert_eq!(drained(&mut drain, &buffer, 2), ["a", "b"]);
    assert_eq!(drained(&mut drain, &buffer, 2), [""; 0]);
    push(&buffer, RecordClass::Other, "f").unwrap();
    assert_eq!(drained(&mut drain, &buffer, 4), ["c", "d"]);
    assert_eq!(drained(&mut drain, &buffer, 6), ["e", "f"]);
    assert_eq!(drained(&mut drain, &buffer, 6), [""; 0]);
}

#[test]
fn starts_leave_room_for_ends_and_ends_for_internal_records() {
    let buffer = IngestBuffer::new(0, SHARDS * 160);
    let fill = |class| {
        (0..10_000)
            .take_while(|_| push(&buffer, class, "x").is_ok())
            .count()
    };
    assert_eq!(fill(RecordClass::Start), SHARDS * 110);
    assert_eq!(fill(RecordClass::Other), 0);
    assert_eq!(fill(RecordClass::End), SHARDS * 40);
    assert_eq!(fill(RecordClass::Internal), SHARDS * 10);
    assert_eq!(
        buffer.dropped(),
        Dropped {
            starts: 1,
            ends: 1,
            other: 1
        }
    );
    let mut drain = Drain::new(&buffer);
    assert_eq!(
        drained(&mut drain, &buffer, buffer.next_number()).len(),
        SHARDS * 160
    );
    assert_eq!(
        fill(RecordClass::Start),
        SHARDS * 110,
        "a drained shard has no room"
    );
}

#[test]
fn each_turn_of_the_worker_makes_room_in_a_full_buffer() {
    let buffer = IngestBuffer::new(0, SHARDS * 160);
    let mut drain = Drain::new(&buffer);
    for _ in 0..3 {
        let taken = (0..10_000)
            .take_while(|_| push(&buffer, RecordClass::Start, "x").is_ok())
            .count();
        assert_eq!(taken, SHARDS * 110);
        assert_eq!(push(&buffer, RecordClass::Start, "x"), Err(PushError::Full));
        assert_eq!(
            push(&buffer, RecordClass::End, "x"),
            Ok(()),
            "an end found no space"
        );
        drain.take_records(&buffer, buffer.next_number());
    }
}

#[test]
fn a_record_too_large_for_the_rest_of_the_buffer_leaves_room_for_smaller_ones() {
    let buffer = IngestBuffer::new(0, 1 << 20);
    let large = "x".repeat(100_000);
    while push(&buffer, RecordClass::Start, &large).is_ok() {}
    assert_eq!(
        push(&buffer, RecordClass::Start, &large),
        Err(PushError::Full)
    );
    assert_eq!(push(&buffer, RecordClass::Start, "x"), Ok(()));
}

#[test]
fn bytes_are_bounded_like_events() {
    let buffer = IngestBuffer::new(0, 1 << 20);
    let text = "x".repeat(100_000);
    // Starts may fill 352 KiB of each shard: three records.
    let taken = (0..10_000)
        .take_while(|_| push(&buffer, RecordClass::Start, &text).is_ok())
        .count();
    assert_eq!(taken, SHARDS * 3);
    assert_eq!(push(&buffer, RecordClass::End, &text), Ok(()));
}

#[test]
fn a_writer_that_panics_leaves_no_half_record() {
    let buffer = IngestBuffer::new(0, 1000);
    push(&buffer, RecordClass::Other, "before").unwrap();
    let write = |buf: &mut WriteBuf<'_>| {
        buf.put_slice(b"half")?;
        panic!("the writer of a test panics");
    };
    assert!(catch_unwind(AssertUnwindSafe(|| buffer.push(RecordClass::Other, write))).is_err());
    thread::scope(|scope| {
        for _ in 0..SHARDS {
            scope.spawn(|| push(&buffer, RecordClass::Other, "after").unwrap());
        }
    });
    let mut drain = Drain::new(&buffer);
    let mut expected = vec!["after"; SHARDS];
    expected.insert(0, "before");
    assert_eq!(drained(&mut drain, &buffer, buffer.next_number()), expected);
    assert_eq!(buffer.dropped(), Dropped::default());
}

#[test]
fn a_closed_buffer_takes_nothing_and_counts_nothing() {
    let buffer = IngestBuffer::new(0, 1000);
    buffer.close();
    assert_eq!(
        push(&buffer, RecordClass::Start, "x"),
        Err(PushError::Closed)
    );
    assert_eq!(
        (buffer.next_number(), buffer.dropped()),
        (0, Dropped::default())
    );
}

#[test]
fn a_dropped_acknowledgement_is_forgotten() {
    let buffer = IngestBuffer::new(0, 1000);
    let (one, mut two) = (buffer.pending_ack(), buffer.pending_ack());
    drop(one);
    let id = EventId::new(
        "k3x9q2a7".parse().unwrap(),
        crate::wire::id::Sequence::new(1),
    );
    buffer.resolve_ack(two.number, Some(Ack::Stored(id)));
    assert_eq!(lock(&buffer.acks).len(), 0);
    assert_eq!(two.receiver.try_recv(), Ok(Ack::Stored(id)));
}

#[test]
fn a_push_does_not_wait_for_writers_that_hold_every_shard_but_is_counted() {
    let buffer = IngestBuffer::new(0, 1000);
    // All threads meet at this barrier twice: when all shards are held, and when they may be released.
    let meeting = Barrier::new(SHARDS + 1);
    thread::scope(|scope| {
        for _ in 0..SHARDS {
            scope.spawn(|| {
                let write = |buf: &mut WriteBuf<'_>| {
                    meeting.wait();
                    meeting.wait();
                    buf.put_slice(b"held")
                };
                buffer.push(RecordClass::Other, write).unwrap();
            });
        }
        meeting.wait();
        assert_eq!(
            push(&buffer, RecordClass::Other, "refused"),
            Err(PushError::Full)
        );
        meeting.wait();
    });
    push(&buffer, RecordClass::Other, "taken").unwrap();
    let mut drain = Drain::new(&buffer);
    let mut expected = vec!["held"; SHARDS];
    expected.push("taken");
    assert_eq!(drained(&mut drain, &buffer, buffer.next_number()), expected);
    assert_eq!(buffer.dropped().other, 1);
}
