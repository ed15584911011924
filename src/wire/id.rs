//! The position of an event in a log: sequence, epoch, and the id that a browser keeps. Parsing a client's id never
//! fails, because a browser cannot recover from an error status. Pure; any thread calls it.

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _},
    str::FromStr,
};

use serde::{Serialize, Serializer};

use crate::error::Error;

/// The position of an event in its log: 1, 2, 3 …, without holes. [`Sequence::START`] is the position before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The position before the first event. A read after it returns every retained event.
    pub const START: Self = Self(0);
    /// The last position of any log: 2^53 − 1. SQLite, the scripts of Redis and JavaScript all represent numbers up
    /// to it exactly. A log ends before it reuses a sequence.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Creates a sequence from its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a log, or one outage of its store: eight characters of `[0-9a-z]`. With it, a log recognises an id from
/// before a restart.
///
/// Epochs are ordered as text, not by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch([u8; 8]);

impl Epoch {
    /// Used if a store names no epoch. Every correct store names one.
    pub(crate) const NONE: Self = Self(*b"00000000");

    /// Returns a random epoch.
    pub fn random() -> Self {
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u128(
            std::time::UNIX_EPOCH
                .elapsed()
                .unwrap_or_default()
                .as_nanos(),
        );
        hasher.write_u32(std::process::id());
        Self::from_bits(hasher.finish())
    }

    fn from_bits(mut bits: u64) -> Self {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = [b'0'; 8];
        for slot in &mut text {
            *slot = ALPHABET.get((bits % 36) as usize).copied().unwrap_or(b'0');
            bits /= 36;
        }
        Self(text)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Returns the eight characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Epoch {
    type Err = Error;

    /// Parses eight characters of `[0-9a-z]`.
    ///
    /// # Errors
    /// Text of another length or alphabet is [invalid](Error::is_invalid).
    fn from_str(text: &str) -> Result<Self, Error> {
        match <[u8; 8]>::try_from(text.as_bytes()) {
            Ok(bytes)
                if bytes
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z')) =>
            {
                Ok(Self(bytes))
            }
            _ => Err(Error::invalid(
                "an epoch must be eight characters of 0-9 and a-z",
            )),
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The id of an event, `<epoch>-<sequence>`. Clients treat it as opaque and send it back as `Last-Event-ID`.
///
/// ```
/// let id: livespan::sse::EventId = "k3x9q2a7-41".parse()?;
/// assert_eq!(id.sequence().get(), 41);
/// assert_eq!(id.to_string(), "k3x9q2a7-41");
/// # Ok::<(), livespan::Error>(())
/// ```
///
/// Within an epoch, ids are ordered like their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    epoch: Epoch,
    sequence: Sequence,
}

impl EventId {
    /// Creates an id from an epoch and a sequence.
    pub const fn new(epoch: Epoch, sequence: Sequence) -> Self {
        Self { epoch, sequence }
    }

    /// Returns the epoch: the life of the log that wrote the event, or an outage in it.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the position in the log.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for EventId {
    type Err = Error;

    /// Parses `<epoch>-<sequence>`.
    ///
    /// # Errors
    /// Text of another form is [invalid](Error::is_invalid).
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::invalid("an event id must be <epoch>-<sequence>");
        let (epoch, sequence) = text.split_once('-').ok_or_else(refused)?;
        Ok(Self {
            epoch: epoch.parse()?,
            sequence: number(sequence).ok_or_else(refused)?,
        })
    }
}

fn number(text: &str) -> Option<Sequence> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        text.parse().ok().map(Sequence)
    } else {
        None
    }
}

/// The point from which a reader resumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumePoint {
    /// No resume point: the reader gets all retained events. A reader of single streams first gets a gap with the
    /// number of evicted events. Other readers get no gap for events that were evicted before they connected.
    #[default]
    Oldest,
    /// Live events only.
    Live,
    /// After this sequence of the current epoch. `0` is the beginning, so all evicted events are reported as missed.
    After(Sequence),
    /// After this id. Its epoch may be an earlier one, or that of another log.
    AfterId(EventId),
    /// The beginning, because the client sent a malformed id. A gap reports this.
    Malformed,
}

impl ResumePoint {
    /// Parses a client's `Last-Event-ID`. A malformed id means the beginning. It is never an error, because a browser
    /// cannot recover from an error.
    pub fn parse(text: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(text) else {
            return Self::Malformed;
        };
        let text = text.trim();
        if let Some(sequence) = number(text) {
            return Self::After(sequence);
        }
        text.parse().map_or(Self::Malformed, Self::AfterId)
    }
}

#[cfg(test)]
mod tests {
    use super::{Epoch, EventId, ResumePoint, Sequence};

    #[test]
    fn ids_are_serialized_as_their_text() {
        let id: EventId = "k3x9q2a7-41".parse().unwrap();
        assert_eq!(
            serde_json::to_string(&(id, id.epoch())).unwrap(),
            r#"["k3x9q2a7-41","k3x9q2a7"]"#
        );
    }

    #[test]
    fn every_text_is_a_resume_point() {
        let id: EventId = "k3x9q2a7-41".parse().unwrap();
        let garbage = "x".repeat(10_000);
        let cases = [
            ("k3x9q2a7-41", ResumePoint::AfterId(id)),
            (" k3x9q2a7-41 ", ResumePoint::AfterId(id)),
            ("7", ResumePoint::After(Sequence::new(7))),
            ("0", ResumePoint::After(Sequence::START)),
            ("", ResumePoint::Malformed),
            ("-1", ResumePoint::Malformed),
            ("+7", ResumePoint::Malformed),
            ("K3X9Q2A7-41", ResumePoint::Malformed),
            ("k3x9q2a7-", ResumePoint::Malformed),
            ("k3x9q2a7-1e3", ResumePoint::Malformed),
            ("99999999999999999999999", ResumePoint::Malformed),
            (&garbage, ResumePoint::Malformed),
        ];
        for (text, expected) in cases {
            assert_eq!(ResumePoint::parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(ResumePoint::parse(&[0xff, 0xfe]), ResumePoint::Malformed);
    }

    #[test]
    fn epochs_are_in_their_alphabet_and_differ() {
        let (one, two) = (Epoch::random(), Epoch::random());
        assert_eq!(one.as_str().parse::<Epoch>().unwrap(), one);
        assert_ne!(one, two);
    }
}
