//! The worker's memory of starts whose ends will say only the rest (see [`lease`](crate::span::delta::slots)): at most one for
//! each place, a record of at most a kilobyte and the event that was made of it. Memory is used again, the last first, so it stays small while few spans are open.

use crate::{
    span::{delta::slots::PLACES, json::Places, record::Rest},
    trace::state::Begun,
};

/// The starts of one source that are remembered, by place.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// For each place, where its start is, and one more; 0 for none.
    places: Vec<u32>,
    /// None where it was taken and not given back yet. Boxed, because they come and go at every end.
    starts: Vec<Option<Box<Start>>>,
    free: Vec<u32>,
}

/// One start.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// As it came from the host.
    pub(crate) record: Vec<u8>,
    /// The payload of the event that was made of it.
    pub(crate) event: Vec<u8>,
    /// What else there is to know to make the end of that payload.
    pub(crate) told: Option<Told>,
}

/// A start that readers were told of.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) places: Places,
    pub(crate) begun: Begun,
}

impl Told {
    /// Whether the end of this span can be made of the payload of its start, which this is.
    pub(crate) fn serves(&self, started: &[u8], rest: &Rest<'_>) -> bool {
        (self.trace_id, self.span_id) == (rest.trace_id, rest.span_id)
            && *self.begun.name == *rest.name
            && self.places.have_room_for(started, &rest.added)
    }
}

impl Remembered {
    /// Keeps a record. One that is in its place already belongs to a span whose end was dropped.
    pub(crate) fn keep(&mut self, place: usize, record: &[u8]) {
        if self.places.is_empty() {
            self.places = vec![0; PLACES];
        }
        let Some(at) = self.places.get_mut(place) else {
            return;
        };
        if *at == 0 {
            *at = self.free.pop().unwrap_or_else(|| {
                self.starts.push(None);
                u32::try_from(self.starts.len()).unwrap_or(0)
            });
        }
        if let Some(start) = self.starts.get_mut((*at as usize).wrapping_sub(1)) {
            let start = start.get_or_insert_default();
            start.told = None;
            start.record.clear();
            start.record.extend_from_slice(record);
        }
    }

    /// Keeps what the record became.
    pub(crate) fn tell(&mut self, place: usize, event: &[u8], told: Told) {
        let at = self.places.get(place).map_or(0, |at| *at);
        if let Some(Some(start)) = self.starts.get_mut((at as usize).wrapping_sub(1)) {
            start.event.clear();
            start.event.extend_from_slice(event);
            start.told = Some(told);
        }
    }

    /// Gives the start of a place, and forgets it.
    pub(crate) fn take(&mut self, place: usize) -> Option<Box<Start>> {
        let at = std::mem::take(self.places.get_mut(place)?);
        let start = self.starts.get_mut((at as usize).checked_sub(1)?)?;
        self.free.push(at);
        start.take()
    }

    /// Gives the memory of the start that was taken last back, for the next one.
    pub(crate) fn put_back(&mut self, memory: Box<Start>) {
        let place = self.free.last().map_or(0, |place| *place as usize);
        if let Some(free) = self.starts.get_mut(place.wrapping_sub(1)) {
            *free = Some(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_given_once_and_its_memory_is_used_again() {
        let mut remembered = Remembered::default();
        assert!(remembered.take(1).is_none());
        for round in 0..3_u8 {
            remembered.keep(1, &[round, 1]);
            remembered.keep(2, &[round, 2, 2]);
            let first = remembered.take(1).unwrap();
            assert_eq!(first.record, [round, 1]);
            assert!(remembered.take(1).is_none());
            let address = first.record.as_ptr();
            remembered.put_back(first);
            assert_eq!(remembered.take(2).unwrap().record, [round, 2, 2]);
            remembered.keep(3, &[round]);
            remembered.keep(4, &[round]);
            remembered.take(3).unwrap();
            let again = remembered.take(4).unwrap();
            assert_eq!(again.record.as_ptr(), address);
        }
        assert_eq!(remembered.starts.len(), 2);
    }

    #[test]
    fn a_span_whose_end_was_dropped_leaves_its_place_to_the_next() {
        let mut remembered = Remembered::default();
        remembered.keep(1, b"dropped");
        remembered.keep(1, b"next");
        assert_eq!(remembered.take(1).unwrap().record, b"next");
        assert!(remembered.take(1).is_none());
    }
}
