//! A cursor over memory that is already allocated, so that writing a record never allocates. Pure.

/// Free bytes that are filled from the front. A write that needs more bytes than remain returns `None`; the record is
/// then rejected.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf<'a> {
    rest: &'a mut [u8],
}

impl<'a> WriteBuf<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a mut [u8]) -> Self {
        Self { rest }
    }

    /// Returns how many bytes remain.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Reserves the next bytes. The caller may fill them at once, or after it has written later bytes.
    #[inline]
    pub(crate) fn reserve(&mut self, size: usize) -> Option<&'a mut [u8]> {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(size)?;
        self.rest = rest;
        Some(head)
    }

    /// Reserves a number of bytes that is known at compile time.
    #[inline]
    pub(crate) fn reserve_array<const SIZE: usize>(&mut self) -> Option<&'a mut [u8; SIZE]> {
        self.reserve(SIZE)?.first_chunk_mut()
    }

    #[inline]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) -> Option<()> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// Writes a text. Optimized for short texts.
    #[inline]
    pub(crate) fn put_str(&mut self, text: &str) -> Option<()> {
        self.put_short(text.as_bytes())
    }

    /// Writes bytes. Optimized for few bytes.
    #[inline]
    pub(crate) fn put_short(&mut self, bytes: &[u8]) -> Option<()> {
        fill(self.reserve(bytes.len())?, bytes);
        Some(())
    }
}

/// Copies a slice into one of the same length. Up to 32 bytes are copied with two fixed-size moves, which may overlap:
/// `memcpy` would spend more time on branching by length.
#[inline]
fn fill(to: &mut [u8], from: &[u8]) {
    if from.len() > 32 {
        to.copy_from_slice(from);
    } else {
        let _is_done = ends::<16>(to, from)
            || ends::<8>(to, from)
            || ends::<4>(to, from)
            || ends::<2>(to, from)
            || ends::<1>(to, from);
    }
}

/// Copies the first and the last `SIZE` bytes. Together they cover any length from `SIZE` to twice that.
#[inline]
fn ends<const SIZE: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(front), Some(back)) = (from.first_chunk::<SIZE>(), from.last_chunk::<SIZE>()) else {
        return false;
    };
    if let Some(slot) = to.first_chunk_mut() {
        *slot = *front;
    }
    if let Some(slot) = to.last_chunk_mut() {
        *slot = *back;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_does_not_fit_and_all_after_it_fail() {
        let mut memory = [0; 5];
        let mut buf = WriteBuf::new(&mut memory);
        let first = buf.reserve_array::<2>().unwrap();
        assert_eq!(buf.put_slice(b"cd"), Some(()));
        assert_eq!(buf.remaining(), 1);
        assert_eq!(buf.put_slice(b"xy"), None);
        assert_eq!(buf.put_slice(b"x"), None);
        *first = *b"ab";
        assert_eq!(&memory, b"abcd\0");
    }

    #[test]
    fn texts_of_every_length_are_copied_exactly_or_not_at_all() {
        let text: String = (0..100)
            .map(|number| char::from(b' ' + number % 90))
            .collect();
        for length in 0..=text.len() {
            let text = &text[..length];
            let mut memory = [0; 101];
            assert_eq!(WriteBuf::new(&mut memory[..length]).put_str(text), Some(()));
            assert_eq!(memory[..length], *text.as_bytes());
            assert_eq!(memory[length..], [0; 101][length..]);
            let mut memory = [0; 101];
            if let Some(less) = length.checked_sub(1) {
                assert_eq!(WriteBuf::new(&mut memory[..less]).put_str(text), None);
                assert_eq!(memory, [0; 101]);
            }
        }
    }
}
