//! A lossy set of the attribute keys that an open span has got since its start. Pure.

/// A Bloom filter of 256 bits over a span's keys. A false positive only costs the caller a search of the attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeySketch([u64; 4]);

impl KeySketch {
    /// Adds a key. Returns whether it may have been in the set before.
    #[inline]
    pub(super) fn insert(&mut self, key: &str) -> bool {
        let mixed = hash(key.as_bytes());
        let bit = 1 << (mixed % 64);
        let Some(word) = self.0.get_mut(mixed / 64 % 4) else {
            return true;
        };
        let was_there = *word & bit != 0;
        *word |= bit;
        was_there
    }
}

/// Returns an eight-bit hash of a key's length and of its first and last bytes.
#[inline]
fn hash(key: &[u8]) -> usize {
    let ends = key.first_chunk::<8>().zip(key.last_chunk::<8>());
    let (head, tail) = ends.map_or_else(
        || short(key),
        |(head, tail)| (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
    );
    let mixed =
        (head ^ tail.rotate_left(27) ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [.., high] = mixed.to_le_bytes();
    usize::from(high)
}

/// Returns the beginning and the end of a key of fewer than eight bytes.
#[inline]
fn short(key: &[u8]) -> (u64, u64) {
    if let (Some(head), Some(tail)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        return (word(head), word(tail));
    }
    let byte = |byte: Option<&u8>| byte.copied().map_or(0, u64::from);
    let middle = byte(key.get(key.len() / 2));
    (byte(key.first()) << 8 | middle, byte(key.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inserted_key_is_found_with_few_false_positives() {
        let mut keys = KeySketch::default();
        let names: Vec<String> = (0..40).map(|number| format!("key {number}")).collect();
        let mistaken = names.iter().filter(|name| keys.insert(name)).count();
        assert!(mistaken < 8, "{mistaken}");
        for name in &names {
            assert!(keys.insert(name), "{name}");
        }
        for short in ["", "a", "ab", "abc", "abcd", "abcdefg", "abcdefgh"] {
            let mut keys = KeySketch::default();
            assert!(!keys.insert(short) && keys.insert(short), "{short}");
        }
    }
}
