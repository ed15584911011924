//! Pushes records into the buffer. A push runs on the host's threads: it must never wait, allocate or panic.

use std::{collections::HashMap, sync::OnceLock};

use tokio::sync::{Notify, oneshot};

use crate::{
    ingest::{
        buffer::{
            class::{Ack, PushError, Quota, RecordClass},
            shard::{
                FillLevel, HEADER, PaddedShard, PushAttempt, SHARD_BYTES_MIN, SHARDS, Shard,
                Shortage,
            },
        },
        write_buf::WriteBuf,
    },
    util::sync::{
        Condvar, Mutex, SpinMutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        lock,
        thread::Thread,
        thread_number,
    },
};

/// The value of `wake_at` while no record must wake the worker. No record has this number.
pub(super) const AWAKE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct IngestBuffer {
    pub(super) shards: Box<[PaddedShard; SHARDS]>,
    pub(super) shard_bytes: usize,
    /// The quota of each class.
    pub(super) quotas: [Quota; 4],
    pub(super) events_max: usize,
    /// The number of ends that were dropped because the buffer was full.
    pub(super) ends_rejected: AtomicU64,
    /// The number of ends that arrived after the log, or their provider, was shut down.
    pub(super) ends_late: AtomicU64,
    pub(super) next_number: AtomicU64,
    /// How many times the worker has emptied the shards.
    pub(super) drain_generation: AtomicU64,
    /// For each class: the worker's last turn, counted from 1, in which a push found all shards full.
    pub(super) full_since: [AtomicU64; 4],
    pub(super) closed: AtomicBool,
    /// The reason why the log aborted; unset if it is open or was shut down.
    pub(super) abort_reason: OnceLock<&'static str>,
    /// The lowest number of a record that wakes the worker; [`AWAKE`] if no number does.
    pub(super) wake_at: AtomicU64,
    pub(super) urgent: AtomicBool,
    pub(super) worker: OnceLock<Thread>,
    /// The id of the process whose worker thread drains the buffer.
    pub(super) process: u32,
    pub(super) dropped: [AtomicU64; 3],
    pub(super) drained: Mutex<DrainProgress>,
    pub(super) drained_changed: Condvar,
    pub(super) room_freed: Notify,
    pub(super) acks: Mutex<HashMap<u64, oneshot::Sender<Ack>>>,
    pub(super) next_ack: AtomicU64,
}

/// How a turn of the worker ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnResult {
    /// Whether the store failed at any moment of the turn.
    pub(crate) has_failed: bool,
    /// Whether the store was failing at the end of the turn.
    pub(crate) is_failing: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DrainProgress {
    pub(super) drained_through: u64,
    pub(super) failures: u64,
    /// Whether the store was failing at the end of the worker's last turn.
    pub(super) failing: bool,
    pub(super) finished: bool,
}

impl IngestBuffer {
    pub(crate) fn new(bytes_max: usize, events_max: usize) -> Self {
        let shard_bytes = (bytes_max / SHARDS).max(SHARD_BYTES_MIN);
        let shard_events = (events_max / SHARDS).max(16);
        let shard = || PaddedShard(SpinMutex::new(Shard::new(shard_bytes)));
        Self {
            shards: Box::new(std::array::from_fn(|_| shard())),
            shard_bytes,
            quotas: [
                RecordClass::Start,
                RecordClass::End,
                RecordClass::Other,
                RecordClass::Internal,
            ]
            .map(|class| Quota {
                bytes: shard_bytes / 16 * class.sixteenths(),
                events: shard_events / 16 * class.sixteenths(),
            }),
            events_max,
            ends_rejected: AtomicU64::new(0),
            ends_late: AtomicU64::new(0),
            next_number: AtomicU64::new(0),
            drain_generation: AtomicU64::new(0),
            full_since: Default::default(),
            closed: AtomicBool::new(false),
            abort_reason: OnceLock::new(),
            wake_at: AtomicU64::new(AWAKE),
            urgent: AtomicBool::new(false),
            worker: OnceLock::new(),
            process: std::process::id(),
            dropped: Default::default(),
            drained: Mutex::default(),
            drained_changed: Condvar::new(),
            room_freed: Notify::new(),
            acks: Mutex::default(),
            next_ack: AtomicU64::new(1),
        }
    }

    /// Pushes the record that `write` writes. `write` is called again for another shard if the first lacked space. A
    /// rejected record is counted as dropped, except after a shutdown.
    #[inline]
    pub(crate) fn push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), PushError> {
        let pushed = self.try_push(class, write);
        if let Err(rejected) = &pushed {
            self.count_rejected(class, rejected);
        }
        pushed
    }

    /// Like [`push`](Self::push), but counts no drop.
    #[inline]
    pub(crate) fn try_push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), PushError> {
        let quota = class.of(&self.quotas);
        let home = thread_number();
        let (mut shard, mut probe, mut write) = (home, None, &write);
        // A single call site, so that `write` is inlined once.
        loop {
            match self.try_push_into(shard, class, quota, write) {
                PushAttempt::Settled(pushed) => return pushed,
                miss => shard = home + self.next_shard(&mut probe, class, &miss)?,
            }
            // `black_box` hides that this is a loop: LLVM would otherwise hoist and spill every captured field before
            // the first attempt.
            write = std::hint::black_box(write);
        }
    }

    #[inline]
    pub(super) fn try_push_into(
        &self,
        shard: usize,
        class: RecordClass,
        quota: &Quota,
        write: impl FnOnce(&mut WriteBuf<'_>) -> Option<()>,
    ) -> PushAttempt {
        let Some(shard) = self.shards.get(shard % SHARDS) else {
            return PushAttempt::NoRoom(Shortage::OfAnyRecord);
        };
        let Some(mut records) = shard.0.try_lock() else {
            return PushAttempt::Busy;
        };
        // Checked under the lock. When the worker sees `closed`, it drains every shard once more; a record that is
        // pushed after that drain would be lost.
        if self.closed.load(Ordering::Acquire) {
            return PushAttempt::Settled(Err(PushError::Closed));
        }
        let Some((number, fill)) = self.append(&mut records, class, quota, write) else {
            return PushAttempt::NoRoom(records.shortage(quota));
        };
        drop(records);
        self.wake_if_due(number, fill);
        PushAttempt::Settled(Ok(()))
    }

    /// Appends a record if it fits. Returns its number and the shard's fill level. `length` and `count` change only
    /// when the record is complete, so a `write` that panics leaves nothing behind.
    #[inline]
    pub(super) fn append(
        &self,
        records: &mut Shard,
        class: RecordClass,
        quota: &Quota,
        write: impl FnOnce(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Option<(u64, FillLevel)> {
        if records.count >= quota.events {
            return None;
        }
        let mut buf = WriteBuf::new(records.bytes.get_mut(records.length..quota.bytes)?);
        let before = buf.remaining();
        let header = buf.reserve_array::<HEADER>()?;
        // Invariant: the number is drawn under the lock (see the module's documentation). All atomic
        // read-modify-writes come before the copy, this one included. If the record then does not fit, its number
        // stays unused: numbers need to be ordered, not dense.
        let number = self.next_number.fetch_add(1, Ordering::SeqCst);
        write(&mut buf)?;
        let size = before - buf.remaining();
        let [l0, l1, l2, l3, ..] = size.to_le_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_le_bytes();
        let class = class as u8;
        *header = [l0, l1, l2, l3, class, n0, n1, n2, n3, n4, n5, n6, n7];
        records.length += size;
        records.count += 1;
        let fill = if records.length > self.shard_bytes / 2 {
            FillLevel::OverHalf
        } else {
            FillLevel::UpToHalf
        };
        Some((number, fill))
    }

    /// Returns the number of the next record. Every record that was pushed before this call has a smaller one.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.load(Ordering::SeqCst)
    }

    /// Returns how many records were pushed and are not stored yet. The count includes numbers that no record uses.
    pub(crate) fn pending_records(&self) -> u64 {
        let drained_through = lock(&self.drained).drained_through;
        self.next_number().saturating_sub(drained_through)
    }

    /// Returns the bound on the records that wait for the worker.
    pub(crate) fn events_max(&self) -> usize {
        self.events_max
    }
}
