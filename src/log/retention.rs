//! [`Retention`]: the bounds of a log, which all hold at once. [`EvictedEvents`]: a count of the events that retention
//! has removed. Plain data.

use std::time::Duration;

/// The bounds of a log: events, bytes and age. The oldest events are evicted first, except the opening events of
/// whatever still runs (see [`Pinning`](crate::sse::Pinning)), and in memory a [share](Self::CARRIED_DIVISOR) of
/// whatever else belongs to it.
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
    /// Default bound on events: 250,000.
    pub const DEFAULT_EVENTS: usize = 250_000;
    /// Default bound on the bytes of SSE frames: 64 MiB. In memory, the index adds a tenth to that for events of 300
    /// bytes.
    pub const DEFAULT_BYTES: usize = 64 * 1024 * 1024;
    /// Default age at which an event is evicted: one day after it was stored.
    pub const DEFAULT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// Upper bound on the opening events that are kept beyond retention: 65,536. Events above the bound are evicted and
    /// counted.
    pub const PINNED_EVENTS_MAX: usize = 65_536;
    /// In memory, up to 1/4 of the events and bytes are events of streams that are open, such as traces that run: they
    /// are kept while younger events of ended streams go. The bounds include them. Over this share, one such stream
    /// loses all of them at once: an ended one first, the one whose last event is the oldest; else the largest.
    pub const CARRIED_DIVISOR: usize = 4;
    /// Upper bound on the streams that are kept because somebody asked for it, such as traces by
    /// [`LiveSpans::keep`](crate::LiveSpans::keep): 16.
    pub const KEPT_STREAMS_MAX: usize = 16;
    /// Kept streams together may have up to 1/8 of the events and bytes. The bounds include them.
    pub const KEPT_DIVISOR: usize = 8;
    /// Upper bound on the bytes of the events kept beyond retention: 16 MiB.
    pub const PINNED_BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Sets the bound on events; 0 is treated as 1.
    pub fn events(self, max: usize) -> Self {
        Self {
            events: max.max(1),
            ..self
        }
    }

    /// Sets the bound on the bytes of SSE frames. The newest event is kept even if it is larger.
    pub fn bytes(self, max: usize) -> Self {
        Self {
            bytes: max.max(1),
            ..self
        }
    }

    /// Sets the age at which events are evicted. They may be evicted later by up to a sixteenth of it.
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

/// The number of events that retention has removed from one stream. The count starts over when the stream begins again
/// after all its events were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictedEvents {
    /// The number of the stream's events that can no longer be read.
    pub events: u64,
    /// The number of closing events among them (see [`Pinning::Close`](crate::sse::Pinning::Close)), such as the ends
    /// of spans; `None` if unknown.
    pub closings: Option<u64>,
}

impl EvictedEvents {
    /// Creates a count of evicted events, and of the closing events among them if that is known.
    pub const fn new(events: u64, closings: Option<u64>) -> Self {
        Self { events, closings }
    }
}
