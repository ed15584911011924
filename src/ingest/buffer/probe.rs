//! Selects the shard to try when the thread's own shard is busy or full. It runs on the host's threads and never waits
//! for a lock.

use crate::{
    ingest::buffer::{
        class::{PushError, RecordClass},
        push::IngestBuffer,
        shard::{PushAttempt, SHARDS, Shortage},
    },
    util::sync::atomic::Ordering,
};

/// Upper bound on the rounds over all shards before a push gives up. A lock is held only for one copy. But the
/// scheduler may have suspended the holders of all shards; without the bound, the push would then not end. At the
/// bound, the record is rejected and counted, although there may be space.
pub(super) const ROUNDS: usize = 64;

/// The progress of a search for a shard with space that no other thread writes to.
pub(super) struct ShardProbe {
    /// The number of the worker's next drain when the search began.
    pub(super) turn: u64,
    pub(super) rounds: usize,
    /// In this round: how many shards were tried, whether one was busy, and whether the others were too full for any
    /// record.
    pub(super) tried: usize,
    pub(super) busy: bool,
    pub(super) full: bool,
}

impl ShardProbe {
    pub(super) fn new(turn: u64) -> Self {
        Self {
            turn,
            rounds: 1,
            tried: 0,
            busy: false,
            full: true,
        }
    }

    pub(super) fn count_miss(&mut self, miss: &PushAttempt) {
        self.tried += 1;
        match miss {
            PushAttempt::Settled(_) => {}
            PushAttempt::Busy => self.busy = true,
            PushAttempt::NoRoom(shortage) => self.full &= *shortage == Shortage::OfAnyRecord,
        }
    }

    pub(super) fn begin_round(&mut self) {
        *self = Self {
            rounds: self.rounds + 1,
            ..Self::new(self.turn)
        };
    }
}

impl IngestBuffer {
    /// Returns the next shard to try, as an offset from the thread's own, or an error if the push must give up. The
    /// search begins with the thread's own shard, which the caller has already tried once.
    #[cold]
    pub(super) fn next_shard(
        &self,
        probe: &mut Option<ShardProbe>,
        class: RecordClass,
        miss: &PushAttempt,
    ) -> Result<usize, PushError> {
        let full_since = class.of(&self.full_since);
        let Some(probe) = probe else {
            // If every shard was found full since the worker's last drain, stop. Under overload, probing every shard
            // for each record would cost more than the rest of the work.
            let turn = self.drain_generation.load(Ordering::Acquire) + 1;
            if full_since.load(Ordering::Relaxed) == turn {
                return Err(self.rejection());
            }
            *probe = Some(ShardProbe::new(turn));
            return Ok(0);
        };
        probe.count_miss(miss);
        if probe.tried < SHARDS {
            return Ok(probe.tried);
        }
        if !probe.busy && probe.full {
            full_since.store(probe.turn, Ordering::Relaxed);
        }
        if !probe.busy || probe.rounds == ROUNDS {
            return Err(PushError::Full);
        }
        probe.begin_round();
        std::hint::spin_loop();
        Ok(0)
    }

    pub(super) fn rejection(&self) -> PushError {
        if self.closed.load(Ordering::Acquire) {
            PushError::Closed
        } else {
            PushError::Full
        }
    }
}
