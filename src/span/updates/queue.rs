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
        let home = thread_number();
        let is_queued = (home..home + LISTS).any(|list| {
            let list = self.lists.get(list % LISTS).and_then(SpinMutex::try_lock);
            list.is_some_and(|mut list| {
                let has_room = list.len() < LIST_SLOTS_MAX;
                if has_room {
                    list.push(Arc::clone(slot));
                }
                has_room
            })
        });
        if is_queued {
            buffer.announce();
        } else {
            // The next change of the span tries again.
            slot.not_queued();
        }
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
