//! One part of the buffer: a piece of memory of fixed size with its own lock. Host threads append records to it; the
//! worker thread swaps it for an empty one.

use crate::{
    ingest::buffer::class::{PushError, Quota},
    util::sync::SpinMutex,
};

pub(super) const SHARDS: usize = 8;

/// A shard with less free space than this, in bytes, counts as full.
pub(super) const SMALL_RECORD: usize = 256;

/// Lower bound on a shard's size, in bytes. At this size, the largest event fits into the quota of every class.
pub(super) const SHARD_BYTES_MIN: usize = 512 * 1024;

/// The bytes before each record: length (4), class (1), number (8).
pub(super) const HEADER: usize = 13;

/// A shard on its own pair of cache lines, so that threads on different shards do not share a line (false sharing).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct PaddedShard(pub(super) SpinMutex<Shard>);

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// The memory of the shard; the first `length` bytes are in use.
    pub(super) bytes: Box<[u8]>,
    pub(super) length: usize,
    pub(super) count: usize,
}

impl Shard {
    /// Creates an empty shard. The system maps zeroed memory lazily, so unwritten memory costs nothing.
    pub(super) fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            length: 0,
            count: 0,
        }
    }

    pub(super) fn used(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Returns which records lack space: all of them if the shard counts as full, or only the record that was tried.
    pub(super) fn shortage(&self, quota: &Quota) -> Shortage {
        if self.count >= quota.events || self.length + SMALL_RECORD > quota.bytes {
            Shortage::OfAnyRecord
        } else {
            Shortage::OfThisRecord
        }
    }
}

/// The records that do not fit into a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    OfThisRecord,
    OfAnyRecord,
}

/// The fill level of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FillLevel {
    UpToHalf,
    /// More than half full: the worker must not wait for more records.
    OverHalf,
}

/// The result of a push into one shard.
pub(super) enum PushAttempt {
    Settled(Result<(), PushError>),
    Busy,
    NoRoom(Shortage),
}
