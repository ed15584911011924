//! Handles pushes into a full or closed buffer. The record is dropped; it is counted by class unless the log was shut
//! down. The committer (`engine::committer`) reports the counts to readers as a gap. The counting runs on the host's
//! threads and must never wait.

use crate::{
    ingest::buffer::{
        class::{PushError, RecordClass},
        push::IngestBuffer,
        shard::FillLevel,
    },
    util::sync::atomic::{AtomicU64, Ordering},
    wire::control::Dropped,
};

/// One in this number of dropped records of a class triggers the check for a fork.
pub(super) const DROPS_PER_FORK_CHECK: u64 = 256;

impl IngestBuffer {
    #[cold]
    pub(super) fn count_rejected(&self, class: RecordClass, rejected: &PushError) {
        if let (PushError::Closed, RecordClass::End) = (rejected, class) {
            self.count_late_end();
        }
        match rejected {
            PushError::Full => {
                let before = self
                    .counter(class)
                    .map(|count| count.fetch_add(1, Ordering::Relaxed));
                if matches!(class, RecordClass::End) {
                    self.ends_rejected.fetch_add(1, Ordering::Relaxed);
                }
                // A fork has no worker, so its buffer stays full. The check is a system call, so most drops skip it.
                if before.is_some_and(|before| before.is_multiple_of(DROPS_PER_FORK_CHECK))
                    && self.is_forked()
                {
                    return;
                }
                // The worker may just have emptied the buffer and be about to sleep. It must still report the drop.
                self.wake(FillLevel::OverHalf);
            }
            // After a shutdown, the app does not expect further records to be kept, so they are not counted. After an
            // abort, the app does not know that the log has ended, so the losses are counted.
            PushError::Closed if self.abort_reason().is_some() => self.count_dropped(class, 1),
            PushError::Closed => {}
        }
    }

    /// Returns how many ends the full buffer rejected. Ends that the store rejected later are not included.
    pub(crate) fn ends_rejected(&self) -> u64 {
        self.ends_rejected.load(Ordering::Relaxed)
    }

    pub(crate) fn ends_late(&self) -> u64 {
        self.ends_late.load(Ordering::Relaxed)
    }

    pub(crate) fn count_late_end(&self) {
        self.ends_late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> Dropped {
        let [starts, ends, other] = &self.dropped;
        Dropped {
            starts: starts.load(Ordering::Relaxed),
            ends: ends.load(Ordering::Relaxed),
            other: other.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_dropped(&self, class: RecordClass, count: u64) {
        if let Some(counter) = self.counter(class) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn counter(&self, class: RecordClass) -> Option<&AtomicU64> {
        let [starts, ends, other] = &self.dropped;
        match class {
            RecordClass::Start => Some(starts),
            RecordClass::End => Some(ends),
            RecordClass::Other => Some(other),
            RecordClass::Internal => None,
        }
    }
}
