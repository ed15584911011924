//! Where a record is written: memory that is there already, so that writing neither allocates nor grows anything. Pure.

/// Free bytes, filled from the front. Whoever asks for more than is left gets `None`, and the record is not taken.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf<'a> {
    rest: &'a mut [u8],
}

impl<'a> WriteBuf<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a mut [u8]) -> Self {
        Self { rest }
    }

    /// Bytes that are left.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next bytes, for the caller to fill: now, or when what stands behind them is known.
    #[inline]
    pub(crate) fn reserve(&mut self, size: usize) -> Option<&'a mut [u8]> {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(size)?;
        self.rest = rest;
        Some(head)
    }

    /// The same, of a size that the compiler knows.
    #[inline]
    pub(crate) fn reserve_array<const SIZE: usize>(&mut self) -> Option<&'a mut [u8; SIZE]> {
        self.reserve(SIZE)?.first_chunk_mut()
    }

    #[inline]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) -> Option<()> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// The same for what is mostly short.
    #[inline]
    pub(crate) fn put_str(&mut self, text: &str) -> Option<()> {
        fill(self.reserve(text.len())?, text.as_bytes());
        Some(())
    }
}

/// Copies bytes to a place of the same length: up to 32 of them by two moves of a fixed size, which may overlap, because
/// a call of `memcpy` takes longer to find out how many there are.
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

/// Copies so many bytes of the front and of the back, which is all of up to twice as many.
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
    fn what_does_not_fit_is_refused_and_so_is_all_that_follows() {
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
    fn texts_of_every_length_arrive_whole_and_alone() {
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
