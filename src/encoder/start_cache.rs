//! The start cache: the starts that delta ends will be joined with (see [`delta`](crate::span::delta)). Each slot holds
//! at most one start: a record of at most 1 KiB and its encoded event. The memory freed last is reused first, so little
//! is used while few spans are open. After a burst of open spans, the memory of all but [`SPARE_STARTS_MAX`] unused
//! starts is freed. Only the worker thread uses it.

use crate::{
    span::{delta::end::EndDelta, delta::slots::SLOTS, json::StartLayout},
    trace::span_change::SpanStart,
};

/// Upper bound on the unused starts whose memory is kept for later ones. That is a few hundred KiB, as most starts are
/// small.
const SPARE_STARTS_MAX: usize = 256;

/// The remembered starts of one source, by slot.
#[derive(Debug, Default)]
pub(crate) struct StartCache {
    /// For each slot, the index of its start plus 1; 0 for none.
    slots: Vec<u32>,
    /// The memory of the starts. An entry is `None` from the removal of its start until its memory is recycled, and
    /// after its memory was freed. Boxed, because each end moves one out and back.
    starts: Vec<Option<Box<CachedStart>>>,
    free: Vec<u32>,
    /// The number of free entries whose memory is kept.
    spare: usize,
}

/// One remembered start.
#[derive(Debug, Default)]
pub(crate) struct CachedStart {
    /// The record from the host's thread.
    pub(crate) record: Vec<u8>,
    /// The payload of its `started` event.
    pub(crate) event: Vec<u8>,
    /// The data needed to make the end from that payload, if the start was encoded.
    pub(crate) encoded: Option<EncodedStart>,
}

/// The ids, layout and index entry of a start whose event is in the log.
#[derive(Debug)]
pub(crate) struct EncodedStart {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) layout: StartLayout,
    pub(crate) span_start: SpanStart,
}

impl EncodedStart {
    /// Returns whether the end can be made from `started`, the payload of this start.
    pub(crate) fn can_make(&self, started: &[u8], delta: &EndDelta<'_>) -> bool {
        (self.trace_id, self.span_id) == (delta.trace_id, delta.span_id)
            && *self.span_start.name == *delta.name
            && self.layout.accepts_added(started, &delta.added)
    }
}

impl StartCache {
    /// Keeps a record. A record that is already in the slot belongs to a span whose end was dropped, so it is replaced.
    pub(crate) fn insert(&mut self, slot: usize, record: &[u8]) {
        if self.slots.is_empty() {
            self.slots = vec![0; SLOTS];
        }
        let Some(at) = self.slots.get_mut(slot) else {
            return;
        };
        let is_new = *at == 0;
        if is_new {
            *at = self.free.pop().unwrap_or_else(|| {
                self.starts.push(None);
                u32::try_from(self.starts.len()).unwrap_or(0)
            });
        }
        if let Some(start) = self.starts.get_mut((*at as usize).wrapping_sub(1)) {
            if is_new && start.is_some() {
                self.spare -= 1;
            }
            let start = start.get_or_insert_default();
            start.encoded = None;
            start.record.clear();
            start.record.extend_from_slice(record);
        }
    }

    /// Keeps the event of the record in this slot.
    pub(crate) fn set_encoded(&mut self, slot: usize, event: &[u8], encoded: EncodedStart) {
        let at = self.slots.get(slot).map_or(0, |at| *at);
        if let Some(Some(start)) = self.starts.get_mut((at as usize).wrapping_sub(1)) {
            start.event.clear();
            start.event.extend_from_slice(event);
            start.encoded = Some(encoded);
        }
    }

    /// Removes and returns the start in this slot.
    pub(crate) fn take(&mut self, slot: usize) -> Option<Box<CachedStart>> {
        let at = std::mem::take(self.slots.get_mut(slot)?);
        let start = self.starts.get_mut((at as usize).checked_sub(1)?)?;
        self.free.push(at);
        start.take()
    }

    /// Takes back the memory of the start that was removed last, for use by a later start. If more than
    /// [`SPARE_STARTS_MAX`] are unused, frees the memory that was taken back first.
    pub(crate) fn recycle(&mut self, memory: Box<CachedStart>) {
        let slot = self.free.last().map_or(0, |slot| *slot as usize);
        if let Some(free) = self.starts.get_mut(slot.wrapping_sub(1)) {
            *free = Some(memory);
            self.spare += 1;
        }
        if self.spare <= SPARE_STARTS_MAX {
            return;
        }
        if self.free.len() == self.starts.len() {
            // No start is remembered, so the tables that grew in a burst of open spans are freed, too.
            self.starts = Vec::new();
            self.free = Vec::new();
            self.spare = 0;
            return;
        }
        // Invariant: of the free entries, those freed last have kept their memory.
        let first = self.free.len().checked_sub(self.spare);
        let slot = first.and_then(|first| self.free.get(first));
        let slot = slot.map_or(0, |slot| *slot as usize);
        if let Some(spare) = self.starts.get_mut(slot.wrapping_sub(1)) {
            *spare = None;
        }
        self.spare -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_returned_once_and_its_memory_is_reused() {
        let mut cache = StartCache::default();
        assert!(cache.take(1).is_none());
        for round in 0..3_u8 {
            cache.insert(1, &[round, 1]);
            cache.insert(2, &[round, 2, 2]);
            let first = cache.take(1).unwrap();
            assert_eq!(first.record, [round, 1]);
            assert!(cache.take(1).is_none());
            let address = first.record.as_ptr();
            cache.recycle(first);
            assert_eq!(cache.take(2).unwrap().record, [round, 2, 2]);
            cache.insert(3, &[round]);
            cache.insert(4, &[round]);
            cache.take(3).unwrap();
            let again = cache.take(4).unwrap();
            assert_eq!(again.record.as_ptr(), address);
        }
        assert_eq!(cache.starts.len(), 2);
    }

    #[test]
    fn memory_of_a_burst_of_open_spans_is_freed() {
        let mut cache = StartCache::default();
        for round in 0..3 {
            for slot in 0..SLOTS {
                cache.insert(slot, &[round; 1024]);
            }
            let held = |cache: &StartCache| cache.starts.iter().flatten().count();
            assert_eq!(held(&cache), SLOTS);
            for slot in 0..SLOTS - 1 {
                let start = cache.take(slot).unwrap();
                assert_eq!(start.record, [round; 1024]);
                cache.recycle(start);
                // Only sometimes, because each check visits all entries.
                if slot % 2_000 == 0 {
                    assert!(held(&cache) < SLOTS - slot + SPARE_STARTS_MAX);
                }
            }
            assert_eq!(held(&cache), 1 + SPARE_STARTS_MAX);
            let last = cache.take(SLOTS - 1).unwrap();
            cache.recycle(last);
            assert_eq!((cache.starts.capacity(), cache.free.capacity()), (0, 0));
        }
    }

    #[test]
    fn a_span_whose_end_was_dropped_leaves_its_place_to_the_next() {
        let mut cache = StartCache::default();
        cache.insert(1, b"dropped");
        cache.insert(1, b"next");
        assert_eq!(cache.take(1).unwrap().record, b"next");
        assert!(cache.take(1).is_none());
    }
}
