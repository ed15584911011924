//! The options of a reader, and the items that it hands out. Plain data; the reader's task uses it.

use std::{fmt, sync::Arc};

use crate::{
    log::{block::Slice, event::StreamKey, waker::WakeGroup},
    wire::{control::Gap, id::ResumePoint},
};

/// A predicate on the events that a reader wants. Events that belong to every stream always pass.
pub(crate) type Filter = Arc<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

/// The streams that a reader follows, and its options.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    /// The streams; empty means all streams.
    pub(crate) keys: Vec<StreamKey>,
    pub(crate) filter: Option<Filter>,
    /// The reader already got the gaps up to this sequence. They are not reported when the events are read again.
    pub(crate) gaps_reported_until: Option<u64>,
    pub(crate) open_global_events: OpenGlobalEvents,
    /// Wakes a reader of all streams together with others. `None` if the log wakes it alone.
    pub(crate) wake_group: Option<Arc<WakeGroup>>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("keys", &self.keys)
            .field("filtered", &self.filter.is_some())
            .field("gaps_reported_until", &self.gaps_reported_until)
            .field("open_global_events", &self.open_global_events)
            .field("grouped", &self.wake_group.is_some())
            .finish()
    }
}

/// Whether a reader first gets the earlier events that belong to every stream and are still open, such as processes.
/// Later events refer to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OpenGlobalEvents {
    /// Only if the reader begins at the head. A reader that resumes has these events already, and a reader of all
    /// events reads them in their order.
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
    /// Earlier open events, as [`OpenGlobalEvents`] selects them. They do not move the reader's position.
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
