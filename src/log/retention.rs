//! [`Retention`] has the bounds of a log. All of them apply. [`EvictedEvents`] counts the events that retention has
//! removed. [`KeepError`] says why a stream cannot be kept beyond retention. Plain data.

use std::{fmt, time::Duration};

use crate::error::Error;

/// The bounds of a log: events, bytes and age. The oldest events are evicted first. The opening events of spans that
/// still run are kept (see [`Pinning`](crate::sse::Pinning)). The other events of running traces are also kept, up to a
/// [share](Self::CARRIED_DIVISOR) of the bounds.
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
    /// Default bound on the bytes of SSE frames: 64 MiB. For events of 300 bytes, the index in memory adds a tenth.
    pub const DEFAULT_BYTES: usize = 64 * 1024 * 1024;
    /// Default age at which an event is evicted: one day after it was stored.
    pub const DEFAULT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// Upper bound on the opening events that are kept beyond retention: 65,536. Further opening events are evicted and
    /// counted.
    pub const PINNED_EVENTS_MAX: usize = 65_536;
    /// The share of the events and bytes, 1/4, that memory, SQLite and Redis may use for events of open streams, such
    /// as running traces. These stores keep such events while they evict younger events of ended streams. The share is
    /// part of the bounds. If it is exceeded, one stream loses all its events of this share at once: the ended
    /// stream whose last event is the oldest, or else the largest open stream.
    pub const CARRIED_DIVISOR: usize = 4;
    /// Upper bound on the streams that are kept on request, such as traces kept by
    /// [`LiveSpans::keep`](crate::LiveSpans::keep): 16.
    pub const KEPT_STREAMS_MAX: usize = 16;
    /// The share of the events and bytes, 1/8, that all streams kept on request may use together. It is part of the
    /// bounds.
    pub const KEPT_DIVISOR: usize = 8;
    /// Upper bound on the bytes of the opening events and states that are kept beyond retention: 16 MiB. The second
    /// half of these bytes is reserved for opening events.
    pub const PINNED_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// A [state](crate::sse::Pinning::State) is kept beyond retention only while all opening events and states that are
    /// kept beyond retention have at most this many bytes.
    pub(crate) const STATE_BYTES_MAX: usize = Self::PINNED_BYTES_MAX / 2;

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

    /// Sets the age at which events are evicted. Events may be evicted up to a sixteenth of this age later.
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

/// The number of events that retention has removed from one stream. The count starts again at 0 if the stream gets new
/// events after all its events were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictedEvents {
    /// The number of the stream's events that can no longer be read.
    pub events: u64,
    /// The number of closing events among them (see [`Pinning::Close`](crate::sse::Pinning::Close)), such as the ends
    /// of spans. `None` if unknown.
    pub closings: Option<u64>,
}

impl EvictedEvents {
    /// Creates a count of evicted events, and of the closing events among them if that is known.
    pub const fn new(events: u64, closings: Option<u64>) -> Self {
        Self { events, closings }
    }
}

/// The reason why a stream cannot be kept beyond retention (see [`KeptStreams`](crate::store::KeptStreams)).
#[derive(Debug)]
#[non_exhaustive]
pub enum KeepError {
    /// The log has no event of the stream.
    Unknown,
    /// The store cannot keep streams.
    Unsupported,
    /// [`KEPT_STREAMS_MAX`](Retention::KEPT_STREAMS_MAX) streams are kept already.
    TooMany,
    /// The stream and the streams kept already would need more than their [share](Retention::KEPT_DIVISOR).
    TooLarge,
    /// The store failed.
    Store(Error),
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the log has no event of the trace"),
            Self::Unsupported => f.write_str("the log's store cannot keep traces"),
            Self::TooMany => write!(
                f,
                "{} traces are kept already: stop keeping one of them first",
                Retention::KEPT_STREAMS_MAX
            ),
            Self::TooLarge => write!(
                f,
                "kept traces may use 1/{} of the retention, and with this trace they would use more",
                Retention::KEPT_DIVISOR
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}
