//! The events that the checks append, before a store gives them sequences. Plain data: nothing here reads a store.

use bytes::Bytes;
use fastrand::Rng;
use livespan::store::{Batch, Pinning, Sequence, StoredEvent, StreamKey};

/// An event without a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestEvent {
    pub(crate) name: String,
    pub(crate) key: Option<StreamKey>,
    pub(crate) pin: Pinning,
    pub(crate) deduplicated: bool,
    pub(crate) payload: Bytes,
}

impl TestEvent {
    /// Creates an event that belongs to every stream.
    pub(crate) fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            name: "note".to_owned(),
            key: None,
            pin: Pinning::None,
            deduplicated: false,
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

    pub(crate) fn with_state_of(self, token: u64) -> Self {
        Self {
            pin: Pinning::State(token),
            ..self
        }
    }

    /// Marks the event as deduplicated: the log keeps it only once.
    pub(crate) fn deduplicated(self) -> Self {
        Self {
            deduplicated: true,
            ..self
        }
    }

    /// Returns the event as a store should return it.
    pub(crate) fn numbered(&self, sequence: u64) -> StoredEvent {
        let (name, payload) = (self.name.clone(), self.payload.clone());
        StoredEvent::new(Sequence::new(sequence), name, self.key, self.pin, payload)
    }
}

pub(crate) fn batch(test_events: &[TestEvent]) -> Batch {
    let mut batch = Batch::default();
    for test_event in test_events {
        let TestEvent {
            name, pin, payload, ..
        } = test_event;
        match test_event.key {
            Some(key) if test_event.deduplicated => {
                batch.add_deduplicated(name, key, *pin, payload);
            }
            key => batch.add(name, key, *pin, payload),
        }
    }
    batch
}

/// Returns random bytes of any value.
pub(crate) fn random_bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// Returns the key of the stream with this name.
pub(crate) fn stream(name: impl AsRef<[u8]>) -> StreamKey {
    StreamKey::new(name).expect("a name of 1 to 63 bytes")
}

/// Returns events whose payloads are the numbers of the range. Of five events in a row, two are on the stream `a`, one
/// each on `b` and `c`, and one belongs to every stream.
pub(crate) fn mixed(range: std::ops::RangeInclusive<u64>) -> Vec<TestEvent> {
    range
        .map(|place| {
            let test_event = TestEvent::new(place.to_string());
            match place % 5 {
                0 => test_event,
                1 | 3 => test_event.on(stream("a")),
                2 => test_event.on(stream("b")),
                _ => test_event.on(stream("c")),
            }
        })
        .collect()
}
