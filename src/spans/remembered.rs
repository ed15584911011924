//! The worker's memory of starts whose ends will say only the rest (see [`lease`](crate::spans::lease)): at most one for
//! each place, of at most a kilobyte. Memory is used again, the last first, so it stays small while few spans are open.

use crate::spans::lease::{Key, PLACES};

/// The records of leased starts of one source, by place.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// For each place, where its record is, and one more; 0 for none.
    places: Vec<u32>,
    records: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Remembered {
    /// Keeps a record. One that is in its place already belongs to a span whose end was dropped.
    pub(crate) fn keep(&mut self, key: Key, record: &[u8]) {
        if self.places.is_empty() {
            self.places = vec![0; PLACES];
        }
        let Some(place) = self.places.get_mut(key.place()) else {
            return;
        };
        if *place == 0 {
            *place = self.free.pop().unwrap_or_else(|| {
                self.records.push(Vec::new());
                u32::try_from(self.records.len()).unwrap_or(0)
            });
        }
        if let Some(memory) = self.records.get_mut((*place as usize).wrapping_sub(1)) {
            memory.clear();
            memory.extend_from_slice(record);
        }
    }

    /// Gives the record of a place, and forgets it.
    pub(crate) fn take(&mut self, key: Key) -> Option<Vec<u8>> {
        let place = std::mem::take(self.places.get_mut(key.place())?);
        let record = self.records.get_mut((place as usize).checked_sub(1)?)?;
        self.free.push(place);
        Some(std::mem::take(record))
    }

    /// Gives the memory of the record that was taken last back, for the next one.
    pub(crate) fn put_back(&mut self, memory: Vec<u8>) {
        let place = self.free.last().map_or(0, |place| *place as usize);
        if let Some(free) = self.records.get_mut(place.wrapping_sub(1)) {
            *free = memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key::of([0; 16], number.to_be_bytes())
    }

    #[test]
    fn a_record_is_given_once_and_its_memory_is_used_again() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.take(key(1)), None);
        for round in 0..3_u8 {
            remembered.keep(key(1), &[round, 1]);
            remembered.keep(key(2), &[round, 2, 2]);
            let first = remembered.take(key(1)).unwrap();
            assert_eq!(first, [round, 1]);
            assert_eq!(remembered.take(key(1)), None);
            let address = first.as_ptr();
            remembered.put_back(first);
            assert_eq!(remembered.take(key(2)).unwrap(), [round, 2, 2]);
            remembered.keep(key(3), &[round]);
            remembered.keep(key(4), &[round]);
            remembered.take(key(3)).unwrap();
            let again = remembered.take(key(4)).unwrap();
            assert_eq!(again.as_ptr(), address);
        }
        assert_eq!(remembered.records.len(), 2);
    }

    #[test]
    fn a_span_whose_end_was_dropped_leaves_its_place_to_the_next() {
        let mut remembered = Remembered::default();
        remembered.keep(key(1), b"dropped");
        remembered.keep(key(1), b"next");
        assert_eq!(remembered.take(key(1)).unwrap(), b"next");
        assert_eq!(remembered.take(key(1)), None);
    }
}
