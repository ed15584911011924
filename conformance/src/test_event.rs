//! Events as the checks write them, before a store numbers them.

use bytes::Bytes;
use livespan::store::{Batch, Pinning, Sequence, StoredEvent, StreamKey};

/// An event without a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) key: Option<StreamKey>,
    pub(crate) pin: Pinning,
    pub(crate) once: bool,
    pub(crate) payload: Bytes,
}

impl Draft {
    /// An event of every stream.
    pub(crate) fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            name: "note".to_owned(),
            key: None,
            pin: Pinning::None,
            once: false,
            payload: Bytes::from(payload.into()),
        }
    }

    pub(crate) fn on(self, key: StreamKey) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    pub(crate) fn opening(self, token: u64) -> Self {
        Self {
            pin: Pinning::Open(token),
            ..self
        }
    }

    pub(crate) fn closing(self, token: u64) -> Self {
        Self {
            pin: Pinning::Close(token),
            ..self
        }
    }

    /// To be kept only once.
    pub(crate) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// The event as a store should give it back.
    pub(crate) fn numbered(&self, sequence: u64) -> StoredEvent {
        StoredEvent {
            sequence: Sequence::new(sequence),
            name: self.name.clone(),
            key: self.key,
            pin: self.pin,
            payload: self.payload.clone(),
        }
    }
}

pub(crate) fn batch(drafts: &[Draft]) -> Batch {
    let mut batch = Batch::default();
    for draft in drafts {
        let Draft {
            name, pin, payload, ..
        } = draft;
        match draft.key {
            Some(key) if draft.once => batch.add_deduplicated(name, key, *pin, payload),
            key => batch.add(name, key, *pin, payload),
        }
    }
    batch
}

/// A stream by its name.
pub(crate) fn stream(name: impl AsRef<[u8]>) -> StreamKey {
    StreamKey::new(name).expect("a name of 1 to 63 bytes")
}

/// Drafts on the streams `a`, `b` and `c` by turns, and every fifth on every stream, whose payloads are their place.
pub(crate) fn mixed(range: std::ops::RangeInclusive<u64>) -> Vec<Draft> {
    range
        .map(|place| {
            let draft = Draft::new(place.to_string());
            match place % 5 {
                0 => draft,
                1 | 3 => draft.on(stream("a")),
                2 => draft.on(stream("b")),
                _ => draft.on(stream("c")),
            }
        })
        .collect()
}
