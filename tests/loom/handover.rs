//! From the threads of the host to the worker: nothing that was taken is lost, passed over or slept over, whatever ends
//! the log meanwhile.

use std::time::Duration;

use loom::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crate::ingest::buffer::{Drain, IngestBuffer, PushError, RecordClass};

const LONG: Duration = Duration::from_secs(3600);

fn intake() -> Arc<IngestBuffer> {
    Arc::new(IngestBuffer::new(0, 128))
}

/// Pushes this many records; how many were taken.
fn push(intake: &IngestBuffer, records: u8) -> usize {
    let pushed =
        (0..records).map(|record| intake.push(RecordClass::Other, |room| room.bytes(&[record])));
    pushed
        .filter(|pushed| {
            assert_ne!(*pushed, Err(PushError::Full));
            pushed.is_ok()
        })
        .count()
}

fn pushing(intake: &Arc<IngestBuffer>, records: u8) -> JoinHandle<usize> {
    let intake = Arc::clone(intake);
    thread::spawn(move || push(&intake, records))
}

/// Takes turns as the worker does, until it took `enough` or the intake is closed; how many it took. On a thread of its
/// own: one that is unparked must not wait for another in loom.
fn working(intake: &Arc<IngestBuffer>, enough: usize) -> JoinHandle<usize> {
    let intake = Arc::clone(intake);
    thread::spawn(move || work(&intake, enough))
}

fn work(intake: &IngestBuffer, enough: usize) -> usize {
    intake.attach_worker();
    let mut drain = Drain::new(intake);
    let mut taken = 0;
    loop {
        let closed = intake.is_closed();
        let cut = intake.sequence();
        drain.take(intake, cut);
        taken += drain.below().count();
        intake.report(cut, false);
        if taken == enough || (closed && cut == intake.sequence()) {
            intake.report_finished();
            return taken;
        }
        intake.sleep(cut, LONG);
    }
}

/// The worker never sleeps while there is something that was pushed.
pub(crate) fn nothing_is_slept_over() {
    let intake = intake();
    let writers = [1, 1].map(|records| pushing(&intake, records));
    assert_eq!(working(&intake, 2).join().unwrap(), 2);
    for writer in writers {
        assert_eq!(writer.join().unwrap(), 1);
    }
}

/// What a push said it took comes out, though the log is closed at that moment.
pub(crate) fn what_is_taken_is_drained_before_the_end() {
    let intake = intake();
    let writer = pushing(&intake, 2);
    let worker = working(&intake, usize::MAX);
    intake.close();
    assert_eq!(writer.join().unwrap(), worker.join().unwrap());
}

/// When the worker cannot go on, what is pushed is in its hands, or counted.
pub(crate) fn what_is_broken_off_is_counted() {
    let intake = intake();
    let writer = pushing(&intake, 2);
    let mut drain = Drain::new(&intake);
    drain.take(&intake, u64::MAX);
    let taken = drain.below().count() as u64;
    intake.break_off("a model ends it");
    writer.join().unwrap();
    assert_eq!(taken + intake.dropped().other, 2);
}

/// Who waits for what it pushed is told, and it is out then.
pub(crate) fn a_flush_is_answered() {
    let intake = intake();
    let worker = working(&intake, usize::MAX);
    assert_eq!(push(&intake, 1), 1);
    intake.flush(LONG).unwrap();
    intake.close();
    intake.wait_finished(LONG).unwrap();
    assert_eq!(worker.join().unwrap(), 1);
}
