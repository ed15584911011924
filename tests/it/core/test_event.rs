//! The event that these tests dispatch.

use std::time::Duration;

use livespan::{
    SseEvent, SseTarget,
    sse::{Pinning, SseTargetBuilder, StreamKey},
};

use crate::support::PATIENCE;

/// A named text on a stream.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    name: String,
    key: Option<StreamKey>,
    pin: Pinning,
    is_deduplicated: bool,
    payload: String,
}

impl Note {
    pub(crate) fn new(payload: impl Into<String>) -> Self {
        Self {
            name: "note".to_owned(),
            key: None,
            pin: Pinning::None,
            is_deduplicated: false,
            payload: payload.into(),
        }
    }

    pub(crate) fn on(self, stream: &str) -> Self {
        Self {
            key: Some(key(stream)),
            ..self
        }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    pub(crate) fn opening(self, token: u64) -> Self {
        Self {
            pin: Pinning::Open(token),
            ..self
        }
    }

    pub(crate) fn deduplicated(self) -> Self {
        Self {
            is_deduplicated: true,
            ..self
        }
    }

    pub(crate) fn closing(self, token: u64) -> Self {
        Self {
            pin: Pinning::Close(token),
            ..self
        }
    }
}

impl SseEvent for Note {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream_key(&self) -> Option<StreamKey> {
        self.key
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.payload.as_bytes());
    }

    fn pin(&self) -> Pinning {
        self.pin
    }

    fn is_deduplicated(&self) -> bool {
        self.is_deduplicated
    }
}

pub(crate) fn key(stream: &str) -> StreamKey {
    StreamKey::new(stream).unwrap()
}

pub(crate) fn builder() -> SseTargetBuilder<Note> {
    SseTarget::builder()
}

/// Dispatches the events and waits until readers can see them.
pub(crate) fn put(target: &SseTarget<Note>, notes: impl IntoIterator<Item = Note>) {
    for note in notes {
        target.try_dispatch(&note).unwrap();
    }
    flush(target);
}

pub(crate) fn flush(target: &SseTarget<Note>) {
    target.flush(PATIENCE).unwrap();
}

/// A time limit so short that only work that is already done meets it.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(20);
