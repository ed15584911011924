//! Where a record is written: memory that is there already, so that writing neither allocates nor grows anything. Pure.

/// Free bytes, filled from the front. Whoever asks for more than is left gets `None`, and the record is not taken.
#[derive(Debug, Default)]
pub(crate) struct Room<'a> {
    rest: &'a mut [u8],
}

impl<'a> Room<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a mut [u8]) -> Self {
        Self { rest }
    }

    /// Bytes that are left.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next bytes, for the caller to fill: now, or when what stands behind them is known. A room that is handed on
    /// by value stays in registers.
    #[inline]
    pub(crate) fn split(self, size: usize) -> Option<(&'a mut [u8], Self)> {
        let (head, rest) = self.rest.split_at_mut_checked(size)?;
        Some((head, Self { rest }))
    }

    /// The same, in place.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Option<&'a mut [u8]> {
        let (head, room) = std::mem::take(self).split(size)?;
        *self = room;
        Some(head)
    }

    /// The same, of a size that the compiler knows.
    #[inline]
    pub(crate) fn chunk<const SIZE: usize>(&mut self) -> Option<&'a mut [u8; SIZE]> {
        self.take(SIZE)?.first_chunk_mut()
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.take(bytes.len())?.copy_from_slice(bytes);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_so_is_all_that_follows() {
        let mut memory = [0; 5];
        let mut room = Room::new(&mut memory);
        let first = room.chunk::<2>().unwrap();
        assert_eq!(room.bytes(b"cd"), Some(()));
        assert_eq!(room.left(), 1);
        assert_eq!(room.bytes(b"xy"), None);
        assert_eq!(room.bytes(b"x"), None);
        *first = *b"ab";
        assert_eq!(&memory, b"abcd\0");
    }
}
