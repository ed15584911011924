//! How much of a log is kept in memory. Every bound holds at once.

use std::time::Duration;

/// Events kept in memory by default.
pub const DEFAULT_RETENTION_EVENTS: usize = 250_000;
/// Bytes of SSE frames kept in memory by default: 64 MiB. The index adds a tenth for events of 300 bytes.
pub const DEFAULT_RETENTION_BYTES: usize = 64 * 1024 * 1024;
/// The age, since it was stored, at which an event is let go by default: one day.
pub const DEFAULT_RETENTION_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Opening events of what still runs that are kept beyond retention; the excess is let go and counted.
pub const RETENTION_PINNED_EVENTS_MAX: usize = 65_536;
/// Bytes of the events kept beyond retention: 16 MiB.
pub const RETENTION_PINNED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The bounds of what a log keeps: events, bytes and age. The oldest events go first, except the opening events of
/// what still runs (see [`Pin`](crate::Pin)).
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
            events: DEFAULT_RETENTION_EVENTS,
            bytes: DEFAULT_RETENTION_BYTES,
            age: DEFAULT_RETENTION_AGE,
        }
    }
}

impl Retention {
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
