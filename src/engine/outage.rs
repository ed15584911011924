//! Outages: periods in which the store failed but readers still got events. Such events have sequences of the log, but
//! ids with an epoch of the outage, because the store cannot return them. The worker thread writes the list of outages
//! and readers read it, under a lock of its own. No I/O happens here.

use crate::{
    util::sync::{RwLock, read, write},
    wire::id::{Epoch, EventId},
};

/// Upper bound on remembered outages that have ended. Event ids of older outages are no longer recognised.
const OUTAGES_MAX: usize = 64;

/// The remembered outages of a log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outages(RwLock<OutageHistory>);

#[derive(Debug, Default)]
struct OutageHistory {
    outages: Vec<Outage>,
    /// The last sequence of the forgotten outages. Any event up to it may belong to one of them.
    forgotten_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    epoch: Epoch,
    first: u64,
    /// `None` during the outage.
    last: Option<u64>,
}

impl Outage {
    fn covers(&self, sequence: u64) -> bool {
        self.first <= sequence && self.last.is_none_or(|last| sequence <= last)
    }
}

impl Outages {
    /// Returns the epoch of the current outage. If there is none, begins one whose first event is `first`.
    pub(crate) fn begin(&self, first: u64) -> Epoch {
        let OutageHistory {
            outages,
            forgotten_until,
        } = &mut *write(&self.0);
        if let Some(outage) = outages.last().filter(|outage| outage.last.is_none()) {
            return outage.epoch;
        }
        let epoch = Epoch::random();
        let over = (outages.len() + 1).saturating_sub(OUTAGES_MAX);
        let gone = outages.drain(..over).filter_map(|outage| outage.last);
        *forgotten_until = gone.fold(*forgotten_until, u64::max);
        outages.push(Outage {
            epoch,
            first,
            last: None,
        });
        epoch
    }

    /// Ends the current outage, if there is one. Its last event is `last`.
    pub(crate) fn end(&self, last: u64) {
        if let Some(outage) = write(&self.0).outages.last_mut() {
            outage.last.get_or_insert(last);
        }
    }

    /// Returns the outage's epoch if readers got this event in an outage.
    pub(crate) fn epoch(&self, sequence: u64) -> Option<Epoch> {
        let outages = &read(&self.0).outages;
        let outage = outages
            .iter()
            .rev()
            .find(|outage| outage.covers(sequence))?;
        Some(outage.epoch)
    }

    /// Returns the first part of `from..=to` that a store may lack.
    pub(crate) fn first_within(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let known = read(&self.0);
        if from > to {
            return None;
        }
        if from <= known.forgotten_until {
            return Some((from, known.forgotten_until.min(to)));
        }
        let last = |outage: &Outage| outage.last.unwrap_or(u64::MAX);
        let outage = known.outages.iter().find(|outage| last(outage) >= from)?;
        (outage.first <= to).then(|| (outage.first.max(from), last(outage).min(to)))
    }

    /// Returns whether the id belongs to an event that readers got in an outage.
    pub(crate) fn contains(&self, id: EventId) -> bool {
        let outages = &read(&self.0).outages;
        let outage = outages.iter().find(|outage| outage.epoch == id.epoch());
        outage.is_some_and(|outage| outage.covers(id.sequence().get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::Sequence;

    #[test]
    fn only_ids_of_the_outage_are_known() {
        let outages = Outages::default();
        let one = outages.begin(10);
        assert_eq!(
            outages.begin(12),
            one,
            "a second outage began within the first"
        );
        outages.end(14);
        outages.end(99);
        let two = outages.begin(20);
        let epochs = [9, 10, 14, 15, 19, 20, 21].map(|sequence| outages.epoch(sequence));
        let expected = [None, Some(one), Some(one), None, None, Some(two), Some(two)];
        assert_eq!(epochs, expected);
        let known =
            |epoch, sequence| outages.contains(EventId::new(epoch, Sequence::new(sequence)));
        let cases = [
            (one, 9),
            (one, 10),
            (one, 14),
            (one, 15),
            (two, 19),
            (two, 20),
        ];
        assert_eq!(
            cases.map(|(epoch, sequence)| known(epoch, sequence)),
            [false, true, true, false, false, true]
        );
        assert!(!known(Epoch::random(), 12));
    }

    #[test]
    fn an_outage_is_found_within_a_range() {
        let outages = Outages::default();
        outages.begin(10);
        outages.end(14);
        outages.begin(20);
        let cases = [
            (1, 9),
            (1, 10),
            (12, 13),
            (14, 30),
            (15, 19),
            (15, 30),
            (40, 41),
        ];
        let found = cases.map(|(from, to)| outages.first_within(from, to));
        let expected = [
            None,
            Some((10, 10)),
            Some((12, 13)),
            Some((14, 14)),
            None,
            Some((20, 30)),
            Some((40, 41)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn old_outages_are_forgotten() {
        let outages = Outages::default();
        let epochs: Vec<Epoch> = (1..=OUTAGES_MAX as u64 + 1)
            .map(|number| {
                let epoch = outages.begin(number * 10);
                outages.end(number * 10 + 1);
                epoch
            })
            .collect();
        assert_eq!(read(&outages.0).outages.len(), OUTAGES_MAX);
        assert_eq!(
            (outages.epoch(10), outages.epoch(20)),
            (None, Some(epochs[1]))
        );
        assert_eq!(outages.first_within(1, 99), Some((1, 11)));
        assert_eq!(outages.first_within(12, 99), Some((20, 21)));
    }
}
