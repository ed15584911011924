//! The positions of the newest log records. Part of the trace index: the worker adds to it before
//! the records are visible, and a rebuild fills it from the store. Bounded. Pure.

use std::collections::VecDeque;

/// The position of one log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRecordPosition {
    pub(crate) sequence: u64,
    pub(crate) severity: u8,
    /// Zeros for a record outside of traces.
    pub(crate) trace_id: [u8; 16],
}

/// The newest positions, in log order.
#[derive(Debug, Default)]
pub(crate) struct LogPositions {
    all: VecDeque<LogRecordPosition>,
    /// Every log record from this event on is known.
    from: u64,
}

impl LogPositions {
    /// Upper bound on the known positions. They take 2 MiB.
    pub(crate) const POSITIONS_MAX: usize = 65_536;

    /// Creates an index that will get every log record from this event on.
    pub(crate) fn from(from: u64) -> Self {
        Self {
            all: VecDeque::new(),
            from,
        }
    }

    pub(crate) fn add(&mut self, position: LogRecordPosition) {
        if position.sequence < self.from {
            return;
        }
        // The index is nearly always the end of the list. Only a rebuild adds records out of order,
        // because it reads one stream after another.
        let at = self.end_below(position.sequence);
        if self
            .all
            .get(at)
            .is_some_and(|there| there.sequence == position.sequence)
        {
            return;
        }
        self.all.insert(at, position);
        if self.all.len() > Self::POSITIONS_MAX
            && let Some(oldest) = self.all.pop_front()
        {
            self.from = oldest.sequence + 1;
        }
    }

    /// Returns the sequence from which on the position of every log record is known.
    pub(crate) fn first_known(&self) -> u64 {
        self.from
    }

    /// Returns the positions before this event, newest first.
    pub(crate) fn before(&self, sequence: u64) -> impl Iterator<Item = &LogRecordPosition> {
        self.all.range(..self.end_below(sequence)).rev()
    }

    fn end_below(&self, sequence: u64) -> usize {
        match self.all.back() {
            Some(newest) if newest.sequence >= sequence => {
                self.all.partition_point(|one| one.sequence < sequence)
            }
            _ => self.all.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LogPositions, LogRecordPosition};

    fn position(sequence: u64) -> LogRecordPosition {
        LogRecordPosition {
            sequence,
            severity: 9,
            trace_id: [0; 16],
        }
    }

    fn before(positions: &LogPositions, sequence: u64) -> Vec<u64> {
        positions.before(sequence).map(|one| one.sequence).collect()
    }

    #[test]
    fn positions_are_in_log_order_without_duplicates_however_they_are_added() {
        let mut positions = LogPositions::from(10);
        for sequence in [30, 9, 12, 20, 12, 31] {
            positions.add(position(sequence));
        }
        assert_eq!(before(&positions, u64::MAX), [31, 30, 20, 12]);
        assert_eq!(before(&positions, 30), [20, 12]);
        assert_eq!(before(&positions, 12), [0; 0]);
        assert_eq!(positions.first_known(), 10);
    }

    #[test]
    fn the_oldest_positions_beyond_the_bound_are_removed() {
        let mut positions = LogPositions::default();
        let max = LogPositions::POSITIONS_MAX as u64;
        for sequence in 1..=max + 3 {
            positions.add(position(2 * sequence));
        }
        assert_eq!(positions.first_known(), 7);
        let all = before(&positions, u64::MAX);
        assert_eq!((all.len() as u64, all.last()), (max, Some(&8)));
        positions.add(position(5));
        assert_eq!(
            before(&positions, 8),
            [0; 0],
            "a position before the first known one was added"
        );
    }
}
