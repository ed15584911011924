//! [`Retention`]: the bounds of what a log keeps. All of them hold at once. [`EvictedEvents`]: what it has let go. Plain
//! data.

use std::time::Duration;

/// The bounds of what a log keeps: events, bytes and age. The oldest events go first, except the opening events of
/// what still runs (see [`Pinning`](crate::sse::Pinning)).
///
/// ```
/// use std::time::Duration;
/// use livespan::{MemoryEventStore, Retention};
///
/// let retention = Retention::default().events(10_000).bytes(4 << 20).age(Duration::from_secs(600));
/// let store = MemoryEventStore::with_retention(retention);
/// # drop(store);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retention {
    events: usize,
    bytes: usize,
    age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: Self::DEFAULT_EVENTS,
            bytes: Self::DEFAULT_BYTES,
            age: Self::DEFAULT_AGE,
        }
    }
}

impl Retention {
    /// Events kept by default: 250,000.
    pub const DEFAULT_EVENTS: usize = 250_000;
    /// Bytes of SSE frames kept by default: 64 MiB. In memory, the index adds a tenth for events of 300 bytes.
    pub const DEFAULT_BYTES: usize = 64 * 1024 * 1024;
    /// Age, since it was stored, at which an event is evicted by default: one day.
    pub const DEFAULT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// Upper bound on the opening events, of what still runs, that are kept beyond retention: 65,536. The excess is
    /// evicted and counted.
    pub const PINNED_EVENTS_MAX: usize = 65_536;
    /// Upper bound on the bytes of the events kept beyond retention: 16 MiB.
    pub const PINNED_BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Keeps at most this many events; 0 is taken as 1.
    pub fn events(self, max: usize) -> Self {
        Self {
            events: max.max(1),
            ..self
        }
    }

    /// Keeps at most this many bytes of SSE frames. The newest event is kept even when it is larger.
    pub fn bytes(self, max: usize) -> Self {
        Self {
            bytes: max.max(1),
            ..self
        }
    }

    /// Lets events go when they are older than this, or at most a sixteenth later.
    pub fn age(self, max: Duration) -> Self {
        Self { age: max, ..self }
    }

    /// Returns the bound on events.
    pub fn events_max(&self) -> usize {
        self.events
    }

    /// Returns the bound on bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes
    }

    /// Returns the bound on age.
    pub fn age_max(&self) -> Duration {
        self.age
    }
}

/// What retention has let go of one stream, since the stream began or was last let go of as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictedEvents {
    /// The number of its events that can no longer be read.
    pub events: u64,
    /// How many of them closed something (see [`Pinning::Close`](crate::sse::Pinning::Close)), such as the ends of
    /// spans; `None` when not known.
    pub closings: Option<u64>,
}

impl EvictedEvents {
    /// Says that so many events are gone, and how many of them closed something, if that is known.
    pub const fn new(events: u64, closings: Option<u64>) -> Self {
        Self { events, closings }
    }
}
