//! The classes of records, the share of the buffer that each may fill, and the answers to a push. Pure.

use crate::wire::id::EventId;

/// Default bound on the bytes of records that wait for the worker: 16 MiB. The buffer reserves twice as much address
/// space.
pub(crate) const DEFAULT_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Default bound on the records that wait for the worker.
pub(crate) const DEFAULT_BUFFER_EVENTS: usize = 131_072;

/// The kind of a record. It decides which bound applies and which counter counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordClass {
    Start,
    End,
    Other,
    /// Messages from this crate to the worker. They are never counted as dropped, and may fill the buffer completely.
    Internal,
}

impl RecordClass {
    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Start,
            1 => Self::End,
            2 => Self::Other,
            _ => Self::Internal,
        }
    }

    /// Returns the element for this class.
    #[inline]
    pub(super) fn of<T>(self, [start, end, other, note]: &[T; 4]) -> &T {
        match self {
            Self::Start => start,
            Self::End => end,
            Self::Other => other,
            Self::Internal => note,
        }
    }

    /// Returns the fill level, in sixteenths of the buffer, from which records of this class are rejected. As the
    /// buffer fills, starts and other records are rejected first, then ends, and internal records only when it is
    /// full.
    pub(super) fn sixteenths(self) -> usize {
        match self {
            Self::Start | Self::Other => 11,
            Self::End => 15,
            Self::Internal => 16,
        }
    }
}

/// The reason why a record was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// The log's answer to the caller that appended an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    Stored(EventId),
    /// The log has an equal event already, so this event was left out.
    Duplicate,
}

/// The number of records or events of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassCounts {
    pub(crate) starts: u64,
    pub(crate) ends: u64,
    pub(crate) other: u64,
}

impl ClassCounts {
    pub(crate) fn add(&mut self, class: RecordClass, count: u64) {
        match class {
            RecordClass::Start => self.starts += count,
            RecordClass::End => self.ends += count,
            RecordClass::Other => self.other += count,
            RecordClass::Internal => {}
        }
    }

    /// Returns the counts minus `other`, class by class.
    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            starts: self.starts.saturating_sub(other.starts),
            ends: self.ends.saturating_sub(other.ends),
            other: self.other.saturating_sub(other.other),
        }
    }
}

/// The fill level of a shard from which records of one class are rejected.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) bytes: usize,
    pub(super) events: usize,
}
