//! The facts about a starting span that its later changes depend on. Pure.

use opentelemetry::{KeyValue, trace::SpanBuilder};

/// The facts about a starting span that its later changes depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StartSketch {
    pub(super) keys: KeySketch,
    pub(super) attributes: u32,
    pub(super) links: u32,
}

impl StartSketch {
    #[inline]
    pub(super) fn of(builder: &SpanBuilder, attributes: &[KeyValue]) -> Self {
        let mut keys = KeySketch::default();
        for pair in attributes {
            keys.insert(pair.key.as_str());
        }
        let links = builder.links.as_ref().map_or(0, Vec::len);
        Self {
            keys,
            attributes: u32::try_from(attributes.len()).unwrap_or(u32::MAX),
            links: u32::try_from(links).unwrap_or(u32::MAX),
        }
    }
}

/// The keys that a span may have: a Bloom filter of 256 bits. If it takes a new key for a known one, the SDK gets the
/// attribute later, and nothing is lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeySketch([u64; 4]);

impl KeySketch {
    /// Adds a key. Returns whether it may have been there.
    #[inline]
    pub(super) fn insert(&mut self, key: &str) -> bool {
        let bytes = key.as_bytes();
        let last = bytes.last().copied().unwrap_or_default();
        let middle = bytes.get(bytes.len() / 2).copied().unwrap_or_default();
        // Keys of one program seldom agree in length, middle and end.
        let mixed = bytes.len() * 37 + usize::from(last) * 11 + usize::from(middle);
        let bit = 1 << (mixed % 64);
        let Some(word) = self.0.get_mut(mixed / 64 % 4) else {
            return true;
        };
        let was_there = *word & bit != 0;
        *word |= bit;
        was_there
    }
}
