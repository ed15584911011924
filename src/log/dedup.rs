//! Deduplication: remembers which opening and closing events of a token the log has kept. A token is a number in a
//! stream that one event opens and a later event closes, such as the id of a span (see [`Pinning`]). It forgets events
//! that retention removes, so retention also bounds its memory. It does no I/O; stores call it on the thread that
//! appends.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
};

use crate::log::{
    batch::{Batch, BatchRecord},
    event::{Pinning, StreamKey},
};

/// A stream and one of its tokens.
type TokenKey = (StreamKey, u64);

/// The sequences of a token's kept events.
#[derive(Clone, Copy, Debug, Default)]
struct TokenSequences {
    opening: Option<u64>,
    closing: Option<u64>,
}

/// Which events of a token are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptEvents {
    pub(crate) opening: bool,
    pub(crate) closing: bool,
}

/// Returns the indexes of the batch's events that are duplicates of kept events, or of earlier events in the batch.
/// `kept` returns which events of a token are kept.
pub(crate) fn duplicates<E>(
    batch: &Batch,
    mut kept: impl FnMut(&StreamKey, u64) -> Result<KeptEvents, E>,
) -> Result<Vec<usize>, E> {
    let mut here: HashSet<(TokenKey, bool)> = HashSet::new();
    let mut duplicates = Vec::new();
    for (index, record) in batch.iter().enumerate() {
        let Some((place, closes)) = token(&record) else {
            continue;
        };
        let kept = kept(&place.0, place.1)?;
        let is_closed = kept.closing || here.contains(&(place, true));
        let is_opened = kept.opening || here.contains(&(place, false));
        // A start must never follow its own end, even if retention has already removed the first start.
        if is_closed || (!closes && is_opened) {
            duplicates.push(index);
        } else {
            here.insert((place, closes));
        }
    }
    Ok(duplicates)
}

/// All deduplicated events that the log keeps.
#[derive(Debug, Default)]
pub(crate) struct DedupIndex {
    kept: HashMap<TokenKey, TokenSequences>,
    places: HashMap<u64, TokenKey>,
}

/// Returns the event's token, and whether the event closes it.
fn token(record: &BatchRecord<'_>) -> Option<(TokenKey, bool)> {
    let key = *record.stream_key().filter(|_| record.is_deduplicated())?;
    match record.pin() {
        Pinning::None | Pinning::State(_) => None,
        Pinning::Open(token) => Some(((key, token), false)),
        Pinning::Close(token) => Some(((key, token), true)),
    }
}

impl DedupIndex {
    /// Returns the indexes of the batch's events that are duplicates of kept events, or of earlier events in the batch.
    pub(crate) fn duplicates(&self, batch: &Batch) -> Vec<usize> {
        let kept = |key: &StreamKey, token| {
            let places = self.kept.get(&(*key, token)).copied().unwrap_or_default();
            Ok::<_, Infallible>(KeptEvents {
                opening: places.opening.is_some(),
                closing: places.closing.is_some(),
            })
        };
        let Ok(duplicates) = duplicates(batch, kept);
        duplicates
    }

    /// Records that the log keeps the event under this sequence.
    pub(crate) fn insert(&mut self, record: &BatchRecord<'_>, sequence: u64) {
        let Some((place, closes)) = token(record) else {
            return;
        };
        let kept = self.kept.entry(place).or_default();
        let slot = if closes {
            &mut kept.closing
        } else {
            &mut kept.opening
        };
        if let Some(earlier) = slot.replace(sequence) {
            self.places.remove(&earlier);
        }
        self.places.insert(sequence, place);
    }

    /// Forgets an event that the log no longer keeps.
    pub(crate) fn forget(&mut self, sequence: u64) {
        if self.places.is_empty() {
            return;
        }
        let Some(place) = self.places.remove(&sequence) else {
            return;
        };
        let Some(kept) = self.kept.get_mut(&place) else {
            return;
        };
        for slot in [&mut kept.opening, &mut kept.closing] {
            if *slot == Some(sequence) {
                *slot = None;
            }
        }
        if kept.opening.is_none() && kept.closing.is_none() {
            self.kept.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of one stream: `o7` opens the token 7 and `c7` closes it, both deduplicated. Events in capitals are not
    /// deduplicated.
    fn batch(events: &[&str]) -> Batch {
        let mut batch = Batch::default();
        let key = StreamKey::new("a").unwrap();
        for event in events {
            let (kind, token) = event.split_at(1);
            let token = token.parse().unwrap();
            let pin = if kind.eq_ignore_ascii_case("o") {
                Pinning::Open(token)
            } else {
                Pinning::Close(token)
            };
            batch.push("note", Some(key), pin, |_| {});
            if kind.chars().all(char::is_lowercase) {
                batch.mark_deduplicated();
            }
        }
        batch
    }

    fn keep(dedup: &mut DedupIndex, first: u64, events: &[&str]) {
        for (record, sequence) in batch(events).iter().zip(first..) {
            dedup.insert(&record, sequence);
        }
    }

    #[test]
    fn only_the_first_start_and_the_first_end_are_kept() {
        let mut dedup = DedupIndex::default();
        let events = ["o7", "o7", "O7", "c7", "o7", "c7", "C7", "o8"];
        assert_eq!(dedup.duplicates(&batch(&events)), [1, 4, 5]);
        keep(&mut dedup, 1, &["o7", "c7"]);
        assert_eq!(
            dedup.duplicates(&batch(&["o7", "c7", "c8", "c8"])),
            [0, 1, 3]
        );
    }

    #[test]
    fn a_start_after_the_end_is_a_duplicate() {
        let mut dedup = DedupIndex::default();
        keep(&mut dedup, 1, &["o7", "c7"]);
        dedup.forget(1);
        assert_eq!(dedup.duplicates(&batch(&["o7"])), [0]);
        dedup.forget(2);
        assert_eq!(dedup.duplicates(&batch(&["o7"])), [0; 0]);
    }

    #[test]
    fn a_forgotten_token_leaves_no_entry() {
        let mut dedup = DedupIndex::default();
        keep(&mut dedup, 1, &["o7", "c7", "o8", "O9"]);
        for sequence in 1..=4 {
            dedup.forget(sequence);
        }
        assert!(
            dedup.kept.is_empty() && dedup.places.is_empty(),
            "{dedup:?}"
        );
    }
}
