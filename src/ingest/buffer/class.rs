//! The classes of records and the part of the buffer that each may fill. Pure.

/// Bytes of records that wait for the worker, by default: 16 MiB. Twice as much address space is reserved.
pub(crate) const DEFAULT_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Records that wait for the worker, by default.
pub(crate) const DEFAULT_BUFFER_EVENTS: usize = 131_072;

/// The kind of a record, which decides its bound and its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordClass {
    Start,
    End,
    Other,
    /// Our own messages to the worker: never counted as dropped, and allowed to fill the buffer completely.
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

    /// Picks the element of this class.
    #[inline]
    pub(super) fn of<T>(self, [start, end, other, note]: &[T; 4]) -> &T {
        match self {
            Self::Start => start,
            Self::End => end,
            Self::Other => other,
            Self::Internal => note,
        }
    }

    /// Sixteenths of the buffer that the class may fill: starts yield to ends, and ends to internal records.
    pub(super) fn sixteenths(self) -> usize {
        match self {
            Self::Start | Self::Other => 11,
            Self::End => 15,
            Self::Internal => 16,
        }
    }
}

/// Why a record was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// Records or events by class.
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

    /// Subtracts `other`, class by class.
    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            starts: self.starts.saturating_sub(other.starts),
            ends: self.ends.saturating_sub(other.ends),
            other: self.other.saturating_sub(other.other),
        }
    }
}

/// The part of each shard that a class may fill.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) bytes: usize,
    pub(super) events: usize,
}
