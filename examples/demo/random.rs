//! A small seeded generator (xorshift64*), which chooses the visitors and their requests.
//!
//! It is good enough to spread traffic. With the same seed, every start makes the same catalogue.

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a number from 0 to `bound - 1`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = self.next() >> 32;
        // The upper half of a product of two 32-bit numbers, so always below `bound`.
        u32::try_from((high * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// Returns a number below `bound` that is usually small, as with a few best sellers and a long tail.
    pub(crate) fn favourite_below(&mut self, bound: u32) -> u32 {
        let first = self.below(bound);
        let second = self.below(first + 1);
        self.below(second + 1)
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let bound = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        choices.get(usize::try_from(self.below(bound)).unwrap_or(0))
    }
}
