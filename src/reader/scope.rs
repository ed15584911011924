//! The options of a reader, and the items that it hands out. Plain data; the reader's task uses it.

use std::{fmt, sync::Arc};

use crate::{
    log::{block::Slice, event::StreamKey},
    wire::{control::Gap, id::ResumePoint},
};

/// A function that accepts the events that a reader wants. Events that belong to every stream always pass.
pub(crate) type Filter = Arc<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

/// The streams that a reader follows, and its options.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    /// The streams; empty means all streams.
    pub(crate) keys: Vec<StreamKey>,
    pub(crate) filter: Option<Filter>,
    /// Gaps up to here were reported before, so they are not reported again when the events are read again.
    pub(crate) gaps_reported_until: Option<u64>,
    pub(crate) open_global_events: OpenGlobalEvents,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("keys", &self.keys)
            .field("filtered", &self.filter.is_some())
            .field("gaps_reported_until", &self.gaps_reported_until)
            .field("open_global_events", &self.open_global_events)
            .finish()
    }
}

/// Whether a reader gets the earlier events that belong to every stream and that later events need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OpenGlobalEvents {
    /// Only if the reader begins at the head. A reader that resumes has these events already.
    #[default]
    AtHead,
    Always,
}

impl OpenGlobalEvents {
    pub(super) fn is_wanted(self, resume: ResumePoint) -> bool {
        resume == ResumePoint::Live || self != Self::AtHead
    }
}

/// The next item for a reader.
#[derive(Debug)]
pub(crate) enum ReadItem {
    Events(Slice),
    /// Events that later events need, for a reader that begins at the head. They do not move the reader's position.
    OpenGlobal(Slice),
    Gap(Gap),
    /// The store has begun to fail.
    Degraded,
    Closed,
}

impl ReadItem {
    /// Returns the number of events in the item.
    pub(crate) fn events(&self) -> usize {
        match self {
            Self::Events(slice) | Self::OpenGlobal(slice) => slice.range.len(),
            Self::Gap(_) | Self::Degraded | Self::Closed => 0,
        }
    }
}
