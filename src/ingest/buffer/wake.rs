//! Puts the worker thread to sleep and wakes it. Before it sleeps, the worker stores the number of the record at which
//! it must be woken: the next one, or the last one of a batch. After a push, a host thread compares the number of its
//! record with the stored one. It wakes the worker if its record's number is at least as high, or if its shard is more
//! than half full. A push never waits for the worker.

use std::time::Duration;

use crate::{
    ingest::buffer::{
        push::{AWAKE, IngestBuffer},
        shard::FillLevel,
    },
    util::sync::{Instant, atomic::Ordering, thread},
};

impl IngestBuffer {
    pub(crate) fn attach_worker(&self) {
        // A buffer has only one worker, so this never fails.
        drop(self.worker.set(thread::current()));
    }

    /// Returns whether the worker has started.
    #[cfg(feature = "testing")]
    pub(crate) fn has_worker(&self) -> bool {
        self.worker.get().is_some()
    }

    /// Parks until a record with this number or a higher one arrives, or until `timeout` has passed. Returns earlier if
    /// such a record was already pushed, or if the worker [must not wait](Self::is_urgent).
    pub(crate) fn park_until_record(&self, number: u64, timeout: Duration) {
        // Stored before the counter is read. A push draws its number before it reads `wake_at`. So at least one of the
        // two threads sees the other's write.
        self.wake_at.store(number, Ordering::SeqCst);
        if self.next_number() <= number
            && !self.is_closed()
            && !self.urgent.swap(false, Ordering::SeqCst)
        {
            thread::park_timeout(timeout);
        }
        self.wake_at.store(AWAKE, Ordering::SeqCst);
    }

    /// Parks like [`park_until_record`](Self::park_until_record). If the record has arrived and the worker may wait, then
    /// calls `give_way` once, which lets other threads run. The threads that push often share the worker's processor:
    /// the worker handles what they push meanwhile in the same turn, and readers get it in the same write.
    pub(crate) fn park_and_give_way(
        &self,
        number: u64,
        timeout: Duration,
        give_way: impl FnOnce(),
    ) {
        self.park_until_record(number, timeout);
        if self.next_number() > number && !self.is_urgent() {
            give_way();
        }
    }

    /// Parks for this time, even if records arrive. It ends earlier if a shard becomes more than half full, a push is
    /// rejected, or [`wake_now`](Self::wake_now) is called.
    pub(crate) fn park(&self, timeout: Duration) {
        if !self.urgent.swap(false, Ordering::SeqCst) && !self.is_closed() {
            thread::park_timeout(timeout);
        }
    }

    /// Parks for the whole time, even if [`wake_now`](Self::wake_now) is called. Only closing the buffer ends it
    /// earlier.
    pub(crate) fn back_off(&self, time: Duration) {
        let begun = Instant::now();
        while !self.is_closed() {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Returns whether the worker must not wait: a caller waits for it, a shard is more than half full, a push was
    /// rejected, or the buffer is closed.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) || self.is_closed()
    }

    /// Wakes the worker at once, from a park in any of these methods except [`back_off`](Self::back_off).
    pub(crate) fn wake_now(&self) {
        self.urgent.store(true, Ordering::SeqCst);
        self.wake_at.store(AWAKE, Ordering::SeqCst);
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Wakes the worker, or keeps it from parking, because changes wait outside the buffer. It draws a record number
    /// that no record uses, so that the wake-up follows the same protocol as a push.
    pub(crate) fn announce(&self) {
        let number = self.next_number.fetch_add(1, Ordering::SeqCst);
        self.wake_if_due(number, FillLevel::UpToHalf);
    }

    /// Wakes the worker if it waits for a record with this number or a lower one, or if a shard is more than half full.
    #[inline]
    pub(super) fn wake_if_due(&self, number: u64, fill: FillLevel) {
        let is_due = number >= self.wake_at.load(Ordering::SeqCst);
        if is_due || fill == FillLevel::OverHalf {
            self.wake(fill);
        }
    }

    #[cold]
    pub(super) fn wake(&self, fill: FillLevel) {
        let asleep = self.wake_at.swap(AWAKE, Ordering::SeqCst) != AWAKE;
        let urgent = fill == FillLevel::OverHalf && !self.urgent.swap(true, Ordering::SeqCst);
        if let (true, Some(worker)) = (asleep || urgent, self.worker.get())
            && !self.is_forked()
        {
            worker.unpark();
        }
    }
}

/// The longest time that records gather before a turn. In a turn, the worker takes the records out of the buffer and
/// handles them.
pub(crate) const GATHER_TIME: Duration = Duration::from_millis(1);
/// The number of records at which a turn begins at once.
pub(crate) const BATCH_RECORDS: u64 = 128;
/// After a turn of at most this many records, the next record is handled without waiting for others.
const FEW_RECORDS: usize = 2;

/// Decides after each turn of the worker whether the next record is handled at once, or whether records gather first.
/// Each turn has a fixed cost, and waking the worker costs the pushing thread time. So records gather under load: when
/// a turn had more than [`FEW_RECORDS`] records, or began within [`GATHER_TIME`] after the last turn but one began.
#[derive(Debug, Default)]
pub(crate) struct TurnPace {
    /// When the last two turns with records began, the later one last.
    turns: [Option<Instant>; 2],
}

impl TurnPace {
    /// Notes a turn that began at `began` and had `taken` records. Returns whether records gather before the next turn.
    pub(crate) fn lets_gather(&mut self, began: Instant, taken: usize) -> bool {
        if taken == 0 {
            return false;
        }
        let [last_but_one, last] = self.turns;
        self.turns = [last, Some(began)];
        let is_close = |turn| began.saturating_duration_since(turn) < GATHER_TIME;
        taken > FEW_RECORDS || last_but_one.is_some_and(is_close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::buffer::class::{PushError, RecordClass};

    /// Simulates turns. Each turn has a start time, in microseconds, and a number of records. Returns for each turn
    /// whether records gather after it.
    fn gathering(turns: &[(u64, usize)]) -> Vec<bool> {
        let (mut pace, begun) = (TurnPace::default(), Instant::now());
        let turns = turns.iter();
        turns
            .map(|&(at, taken)| pace.lets_gather(begun + Duration::from_micros(at), taken))
            .collect()
    }

    #[test]
    fn single_records_do_not_gather() {
        // As at 1,000 events a second.
        let turns: Vec<(u64, usize)> = (0..50).map(|number| (number * 1_000, 1)).collect();
        assert_eq!(gathering(&turns), [false; 50]);
    }

    #[test]
    fn records_gather_while_many_come() {
        let turns = [(0, 1), (1_000, 3), (2_000, 100), (3_000, 2), (4_000, 0)];
        assert_eq!(gathering(&turns), [false, true, true, false, false]);
    }

    #[test]
    fn the_third_turn_within_a_millisecond_lets_records_gather() {
        let turns = [
            (0, 1),
            (400, 1),
            (800, 1),
            (1_850, 1),
            (2_400, 2),
            (2_500, 1),
        ];
        let expected = [false, false, true, false, false, true];
        assert_eq!(gathering(&turns), expected);
    }

    #[test]
    fn turns_without_records_do_not_count() {
        let turns = [(0, 1), (100, 0), (200, 0), (300, 1), (400, 0), (500, 1)];
        let expected = [false, false, false, false, false, true];
        assert_eq!(gathering(&turns), expected);
    }

    fn push(buffer: &IngestBuffer) -> Result<(), PushError> {
        buffer.push(RecordClass::Other, |buf| buf.put_slice(b"x"))
    }

    #[test]
    fn the_worker_does_not_park_for_a_record_that_is_there() {
        let buffer = IngestBuffer::new(0, 1000);
        push(&buffer).unwrap();
        // No other thread would wake the worker.
        buffer.park_until_record(0, Duration::MAX);
        for _ in 1..BATCH_RECORDS {
            push(&buffer).unwrap();
        }
        buffer.park_until_record(BATCH_RECORDS - 1, Duration::MAX);
        assert_eq!(buffer.next_number(), BATCH_RECORDS);
    }

    #[test]
    fn the_worker_gives_way_once_to_threads_that_push_unless_it_must_not_wait() {
        let buffer = IngestBuffer::new(0, 1000);
        let times_at = |number| {
            let mut times = 0;
            buffer.park_and_give_way(number, Duration::ZERO, || times += 1);
            times
        };
        push(&buffer).unwrap();
        assert_eq!(times_at(1), 0, "the record did not come");
        push(&buffer).unwrap();
        assert_eq!(times_at(1), 1);
        // As a flush does.
        buffer.wake_now();
        assert_eq!(times_at(1), 0, "a caller waits for the worker");
        buffer.park_until_record(2, Duration::ZERO);
        assert_eq!(times_at(1), 1);
        buffer.close();
        assert_eq!(times_at(1), 0, "the buffer is closed");
    }

    #[test]
    fn a_push_wakes_the_worker_only_with_the_record_that_it_waits_for() {
        let buffer = IngestBuffer::new(0, 1000);
        buffer.wake_at.store(2, Ordering::SeqCst);
        let waits: Vec<u64> = (0..4)
            .map(|_| {
                push(&buffer).unwrap();
                buffer.wake_at.load(Ordering::SeqCst)
            })
            .collect();
        assert_eq!(waits, [2, 2, AWAKE, AWAKE]);
    }

    #[test]
    fn a_batch_wakes_the_worker_though_its_last_numbers_are_unused() {
        let buffer = IngestBuffer::new(0, 1000);
        buffer.wake_at.store(1, Ordering::SeqCst);
        push(&buffer).unwrap();
        // This push draws a number in every shard, and fits into none.
        let large = vec![0; 10_000_000];
        let pushed = buffer.try_push(RecordClass::Other, |buf| buf.put_slice(&large));
        assert_eq!(pushed, Err(PushError::Full));
        assert_eq!(buffer.wake_at.load(Ordering::SeqCst), 1);
        push(&buffer).unwrap();
        assert_eq!(buffer.wake_at.load(Ordering::SeqCst), AWAKE);
    }
}
