//! The queue of slots with pending changes. Host threads add slots and never wait; the worker removes all of them.

use std::sync::Arc;

use dashmap::DashMap;
use opentelemetry::trace::SpanContext;

use crate::{
    ingest::buffer::{IngestBuffer, RecordClass},
    span::updates::{
        changes::Changes,
        slot::{NoteResult, SlotIds, UpdateSlot},
    },
    util::sync::{
        SpinMutex,
        atomic::{AtomicUsize, Ordering},
        thread_number,
    },
};

/// Returns the ids of a span.
#[inline]
pub(crate) fn ids_of(span: &SpanContext) -> SlotIds {
    (span.trace_id().to_bytes(), span.span_id().to_bytes())
}

/// Number of lists in the queue. A thread tries its own list first, so threads rarely contend.
const LISTS: usize = 8;
/// Upper bound on the slots of one list. A slot is queued only once. So all lists are full only if more than half a
/// million open spans change, or in a process without a worker (a fork).
const LIST_SLOTS_MAX: usize = 65_536;
/// How often a host thread tries each list. The holder of a list's lock adds one slot, or it is the worker, which
/// moves the slots out.
const ROUNDS: usize = 16;
/// Upper bound on the slots that are found by their span's ids.
const SHARED_SLOTS_MAX: usize = 16_384;

/// The slots that the worker must read, and the slots that are found by their span's ids.
#[derive(Debug)]
pub(crate) struct UpdateQueue {
    lists: [SpinMutex<Vec<Arc<UpdateSlot>>>; LISTS],
    /// Slots of spans that are also changed without the span object. They are found by the spans' ids.
    shared: DashMap<SlotIds, Arc<UpdateSlot>>,
    /// The number of entries in `shared`. Most processes have none, and skip the look-up.
    shared_count: AtomicUsize,
}

impl Default for UpdateQueue {
    fn default() -> Self {
        Self {
            lists: std::array::from_fn(|_| SpinMutex::new(Vec::new())),
            shared: DashMap::new(),
            shared_count: AtomicUsize::new(0),
        }
    }
}

impl UpdateQueue {
    /// Notes a change of a span and queues its slot for the worker.
    #[inline]
    pub(crate) fn note(
        &self,
        buffer: &IngestBuffer,
        slot: &Arc<UpdateSlot>,
        change: impl FnOnce(&mut Changes) -> bool,
    ) -> NoteResult {
        let noted = slot.note(change);
        match noted {
            NoteResult::Queued | NoteResult::Ended => {}
            NoteResult::MustQueue => self.push(buffer, slot),
            NoteResult::Dropped => buffer.count_dropped(RecordClass::Other, 1),
        }
        noted
    }

    /// Notes a change of the span with these ids. Creates a slot if the span has none here. If there is no room for a
    /// slot, the change is counted as dropped.
    pub(crate) fn note_by_ids(
        &self,
        buffer: &IngestBuffer,
        span: SlotIds,
        source: u32,
        change: impl FnOnce(&mut Changes) -> bool,
    ) {
        match self.slot_of(span, source) {
            Some(slot) => {
                self.note(buffer, &slot, change);
            }
            None => buffer.count_dropped(RecordClass::Other, 1),
        }
    }

    /// Returns the slot of the span with these ids. Creates one if there is none and the bound allows it.
    pub(crate) fn slot_of(&self, span: SlotIds, source: u32) -> Option<Arc<UpdateSlot>> {
        self.known_slot(span).or_else(|| {
            if self.shared_count.load(Ordering::Relaxed) >= SHARED_SLOTS_MAX {
                return None;
            }
            let slot = Arc::new(UpdateSlot::new(span.0, span.1, source).waiting_first());
            if self.shared.insert(span, Arc::clone(&slot)).is_none() {
                self.shared_count.fetch_add(1, Ordering::Relaxed);
            }
            Some(slot)
        })
    }

    /// Notes a change of the span with these ids, if it has a slot here.
    pub(crate) fn note_if_known(
        &self,
        buffer: &IngestBuffer,
        span: SlotIds,
        change: impl FnOnce(&mut Changes) -> bool,
    ) {
        if let Some(slot) = self.known_slot(span) {
            self.note(buffer, &slot, change);
        }
    }

    /// Returns the slot of these ids. The lock of the map's entry is released before any other lock is taken.
    fn known_slot(&self, span: SlotIds) -> Option<Arc<UpdateSlot>> {
        self.shared.get(&span).map(|slot| Arc::clone(&slot))
    }

    /// Returns whether a slot is found by its span's ids.
    #[inline]
    pub(crate) fn has_shared_slots(&self) -> bool {
        self.shared_count.load(Ordering::Relaxed) > 0
    }

    /// Removes and returns the slot of these ids.
    pub(crate) fn remove(&self, span: SlotIds) -> Option<Arc<UpdateSlot>> {
        if !self.has_shared_slots() {
            return None;
        }
        let (_, slot) = self.shared.remove(&span)?;
        self.shared_count.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }

    #[cold]
    fn push(&self, buffer: &IngestBuffer, slot: &Arc<UpdateSlot>) {
        if !self.try_push(buffer, slot) {
            // The next change of the span tries again.
            slot.not_queued();
        }
    }

    /// Queues the slot of a span that has ended while its slot was locked. The worker counts the changes that are lost.
    #[cold]
    pub(crate) fn push_ended(&self, buffer: &IngestBuffer, slot: &Arc<UpdateSlot>) {
        if !self.try_push(buffer, slot) {
            buffer.count_dropped(RecordClass::Other, 1);
        }
    }

    /// Returns whether a list had room for the slot.
    fn try_push(&self, buffer: &IngestBuffer, slot: &Arc<UpdateSlot>) -> bool {
        let is_queued = lists_to_try(thread_number()).any(|list| self.push_to(list, slot));
        if is_queued {
            buffer.announce();
        }
        is_queued
    }

    fn push_to(&self, list: usize, slot: &Arc<UpdateSlot>) -> bool {
        let list = self.lists.get(list).and_then(SpinMutex::try_lock);
        let has_room = list.filter(|list| list.len() < LIST_SLOTS_MAX);
        has_room.is_some_and(|mut list| {
            list.push(Arc::clone(slot));
            true
        })
    }

    /// Removes all queued slots. Only the worker calls it.
    pub(crate) fn take(&self, into: &mut Vec<Arc<UpdateSlot>>) {
        for list in &self.lists {
            into.append(&mut list.lock());
        }
    }

    /// Returns whether a slot is queued. Only the worker calls it.
    pub(crate) fn has_slots(&self) -> bool {
        self.lists.iter().any(|list| !list.lock().is_empty())
    }
}

/// Returns the lists in the order in which a thread tries them: its own list first, and each list once in a round.
fn lists_to_try(home: usize) -> impl Iterator<Item = usize> {
    (0..LISTS * ROUNDS).map(move |number| {
        if number > 0 && number % LISTS == 0 {
            std::hint::spin_loop();
        }
        home.wrapping_add(number) % LISTS
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::Dropped;

    fn slot() -> Arc<UpdateSlot> {
        Arc::new(UpdateSlot::new([1; 16], [1; 8], 0))
    }

    fn taken(queue: &UpdateQueue) -> usize {
        let mut taken = Vec::new();
        queue.take(&mut taken);
        taken.len()
    }

    #[test]
    fn lists_that_are_all_locked_are_tried_again() {
        let queue = UpdateQueue::default();
        let slot = slot();
        let mut held: Vec<_> = queue.lists.iter().map(SpinMutex::lock).collect();
        let mut tries = 0;
        let is_queued = lists_to_try(usize::MAX).any(|list| {
            tries += 1;
            if tries == LISTS * ROUNDS {
                held.clear();
            }
            queue.push_to(list, &slot)
        });
        assert!(is_queued);
        assert_eq!((tries, taken(&queue)), (128, 1));
    }

    #[test]
    fn a_slot_that_no_list_took_is_queued_by_the_next_change() {
        let (queue, buffer) = (UpdateQueue::default(), IngestBuffer::new(0, 128));
        let slot = slot();
        let held: Vec<_> = queue.lists.iter().map(SpinMutex::lock).collect();
        assert_eq!(queue.note(&buffer, &slot, |_| true), NoteResult::MustQueue);
        drop(held);
        assert_eq!(taken(&queue), 0);
        assert_eq!(queue.note(&buffer, &slot, |_| true), NoteResult::MustQueue);
        assert_eq!((taken(&queue), buffer.dropped()), (1, Dropped::default()));
    }

    fn named(name: &'static str) -> Changes {
        let mut changes = Changes::default();
        changes.name = Some(name.into());
        changes
    }

    fn note(slot: &UpdateSlot, name: &'static str) -> NoteResult {
        slot.note(|changes| {
            changes.name = Some(name.into());
            true
        })
    }

    #[test]
    fn an_end_takes_the_pending_changes() {
        let slot = slot();
        assert_eq!(note(&slot, "a"), NoteResult::MustQueue);
        assert_eq!(note(&slot, "b"), NoteResult::Queued);
        assert_eq!(slot.end(), Some(named("b")));
        assert_eq!(note(&slot, "c"), NoteResult::Ended);
        assert_eq!(slot.take(), Some(Changes::default()));
    }

    #[test]
    fn no_change_is_reported_after_an_end_that_found_the_lock_taken() {
        let slot = slot();
        assert_eq!(note(&slot, "a"), NoteResult::MustQueue);
        let held = slot.state.lock();
        assert_eq!(slot.end(), None);
        drop(held);
        assert_eq!(note(&slot, "b"), NoteResult::Ended);
        assert_eq!(slot.take(), None);
        assert_eq!(slot.take(), Some(Changes::default()));
    }

    #[test]
    fn a_slot_is_unqueued_though_its_lock_is_taken() {
        let slot = slot();
        assert_eq!(note(&slot, "a"), NoteResult::MustQueue);
        let held = slot.state.lock();
        slot.not_queued();
        drop(held);
        assert_eq!(note(&slot, "b"), NoteResult::MustQueue);
        assert_eq!(slot.take(), Some(named("b")));
    }
}
