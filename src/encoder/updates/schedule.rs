//! Schedules the `updated` events of open spans: at most one in each [`UPDATE_INTERVAL`] for one span. Only the worker
//! thread uses it.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
};

use crate::{
    span::updates::{SlotIds, UPDATE_INTERVAL, UpdateQueue, UpdateSlot},
    util::{hash::Map, sync::Instant},
};

/// The spans with changes to report, and the earliest time for each report.
#[derive(Debug, Default)]
pub(in crate::encoder) struct UpdateSchedule {
    pub(in crate::encoder) queue: Arc<UpdateQueue>,
    /// The slots taken from the queue that have no time for their next report yet.
    taken: Vec<Arc<UpdateSlot>>,
    due: BinaryHeap<Reverse<DueSlot>>,
    /// The time of each span's last report, until the span may be reported again.
    reported: Map<SlotIds, Instant>,
    /// When to search `reported` next for outdated entries.
    forget_at: Option<Instant>,
    /// The buffer for one record of changes.
    pub(in crate::encoder) record: Vec<u8>,
}

#[derive(Debug)]
struct DueSlot {
    at: Instant,
    slot: Arc<UpdateSlot>,
}

impl PartialEq for DueSlot {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DueSlot {}

impl PartialOrd for DueSlot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DueSlot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl UpdateSchedule {
    pub(in crate::encoder) fn new(queue: Arc<UpdateQueue>) -> Self {
        Self {
            queue,
            ..Self::default()
        }
    }

    pub(in crate::encoder) fn take_queued(&mut self) {
        self.queue.take(&mut self.taken);
    }

    pub(in crate::encoder) fn has_changes(&self) -> bool {
        self.queue.has_slots()
    }

    pub(in crate::encoder) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(next)| next.at)
    }

    /// Returns whether no slot was taken and none is due later.
    pub(in crate::encoder) fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.due.is_empty()
    }

    /// Sets the time of the next report for each slot that was taken.
    pub(in crate::encoder) fn schedule_taken(&mut self, now: Instant) {
        for slot in self.taken.drain(..) {
            let reported = self.reported.get(&(slot.trace_id, slot.span_id));
            let first = if slot.waits_first {
                now + UPDATE_INTERVAL
            } else {
                now
            };
            let at = reported.map_or(first, |reported| *reported + UPDATE_INTERVAL);
            self.due.push(Reverse(DueSlot { at, slot }));
        }
    }

    /// Returns the slot that was due first, if any slot is due.
    pub(in crate::encoder) fn next_slot(&mut self, now: Instant) -> Option<Arc<UpdateSlot>> {
        if self.due.peek().is_none_or(|Reverse(next)| next.at > now) {
            return None;
        }
        self.due.pop().map(|Reverse(next)| next.slot)
    }

    /// Records that the span's changes were reported now.
    pub(in crate::encoder) fn mark_reported(&mut self, span: SlotIds, now: Instant) {
        self.reported.insert(span, now);
    }

    /// Forgets the spans whose last report was long enough ago.
    pub(in crate::encoder) fn forget_reported(&mut self, now: Instant) {
        if self.reported.is_empty() {
            self.forget_at = None;
        } else if self.forget_at.is_none_or(|at| at <= now) {
            self.reported
                .retain(|_, reported| *reported + UPDATE_INTERVAL > now);
            self.forget_at = Some(now + UPDATE_INTERVAL);
        }
    }
}
