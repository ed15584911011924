//! Models the hand-over of records from the host's threads to the worker. No accepted record is lost
//! or skipped, and the worker never sleeps while the buffer holds one, even if the log ends meanwhile.

use std::time::Duration;

use loom::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crate::ingest::buffer::{Drain, IngestBuffer, PushError, RecordClass, TurnResult};

const LONG: Duration = Duration::from_secs(3600);

fn buffer() -> Arc<IngestBuffer> {
    Arc::new(IngestBuffer::new(0, 128))
}

/// Pushes this many records. Returns how many the buffer accepted.
fn push(buffer: &IngestBuffer, records: u8) -> usize {
    let pushed =
        (0..records).map(|record| buffer.push(RecordClass::Other, |buf| buf.put_slice(&[record])));
    pushed
        .filter(|pushed| {
            assert_ne!(*pushed, Err(PushError::Full));
            pushed.is_ok()
        })
        .count()
}

fn pushing(buffer: &Arc<IngestBuffer>, records: u8) -> JoinHandle<usize> {
    let buffer = Arc::clone(buffer);
    thread::spawn(move || push(&buffer, records))
}

/// Takes records as the worker does, until it has `enough` or the buffer is closed. Returns the
/// number of records. It runs on a separate thread, because in loom an unparked thread must not
/// wait for another one.
fn working(buffer: &Arc<IngestBuffer>, enough: usize) -> JoinHandle<usize> {
    let buffer = Arc::clone(buffer);
    thread::spawn(move || work(&buffer, enough))
}

fn work(buffer: &IngestBuffer, enough: usize) -> usize {
    buffer.attach_worker();
    let mut drain = Drain::new(buffer);
    let mut taken = 0;
    loop {
        let closed = buffer.is_closed();
        let cut = buffer.next_number();
        drain.take_records(buffer, cut);
        taken += drain.records_below_cut().count();
        buffer.report_drained(cut, TurnResult::default());
        if taken == enough || (closed && cut == buffer.next_number()) {
            buffer.report_finished();
            return taken;
        }
        buffer.park_until_record(cut, LONG);
    }
}

/// The worker never sleeps while the buffer holds a pushed record.
pub(crate) fn the_worker_never_sleeps_over_a_record() {
    let buffer = buffer();
    let writers = [1, 1].map(|records| pushing(&buffer, records));
    assert_eq!(working(&buffer, 2).join().unwrap(), 2);
    for writer in writers {
        assert_eq!(writer.join().unwrap(), 1);
    }
}

/// A worker that waits for the second of two records is woken when both are there, in whichever
/// order the threads pushed them.
pub(crate) fn the_last_record_of_a_batch_wakes() {
    let buffer = buffer();
    let writers = [1, 1].map(|records| pushing(&buffer, records));
    let worker = {
        let buffer = Arc::clone(&buffer);
        thread::spawn(move || {
            buffer.attach_worker();
            buffer.park_until_record(1, LONG);
            assert_eq!(buffer.next_number(), 2);
        })
    };
    worker.join().unwrap();
    for writer in writers {
        assert_eq!(writer.join().unwrap(), 1);
    }
}

/// The worker gets every accepted record, even if the log is closed at the same time.
pub(crate) fn accepted_records_are_drained_before_the_end() {
    let buffer = buffer();
    let writer = pushing(&buffer, 2);
    let worker = working(&buffer, usize::MAX);
    buffer.close();
    assert_eq!(writer.join().unwrap(), worker.join().unwrap());
}

/// If the worker is aborted, each pushed record was either taken or is counted as dropped.
pub(crate) fn records_left_by_an_abort_are_counted() {
    let buffer = buffer();
    let writer = pushing(&buffer, 2);
    let mut drain = Drain::new(&buffer);
    drain.take_records(&buffer, u64::MAX);
    let taken = drain.records_below_cut().count() as u64;
    buffer.abort("a model ends it");
    writer.join().unwrap();
    assert_eq!(taken + buffer.dropped().other, 2);
}

/// A flush is answered, and only after the worker has taken the records pushed before it.
pub(crate) fn a_flush_is_answered() {
    let buffer = buffer();
    let worker = working(&buffer, usize::MAX);
    assert_eq!(push(&buffer, 1), 1);
    buffer.flush(LONG).unwrap();
    buffer.close();
    buffer.wait_finished(LONG).unwrap();
    assert_eq!(worker.join().unwrap(), 1);
}
