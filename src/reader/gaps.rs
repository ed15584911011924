//! Reports gaps to a reader: retention removed events before the reader got them, the store lost them in an outage, or
//! the store failed and recovered. A reader must not skip events without a gap, except events that were removed before
//! it came. It runs on the reader's task.

use crate::{
    engine::diagnostics::Diagnostic,
    error::Error,
    log::batch::StoredEvent,
    reader::{cursor::Reader, scope::ReadItem},
    wire::control::Gap,
};

impl Reader {
    /// Moves past removed events, at most up to `limit`. Queues a gap for the missed events. A reader that reads from
    /// memory then gets the removed events that the log keeps beyond retention.
    pub(super) fn skip_evicted(&mut self, limit: u64) {
        let limit = if self.after < self.unreported_until {
            limit.min(self.unreported_until)
        } else {
            limit
        };
        if self.is_paged() {
            self.report_gap(limit, None);
            self.after = limit;
            return;
        }
        let skipped = self
            .log
            .tail
            .skip_evicted(&self.scope.keys, self.after, limit);
        // It is unknown how many of the missed events the filter would have accepted.
        let lost = if self.scope.filter.is_some() {
            None
        } else {
            skipped.lost
        };
        self.report_gap(skipped.to, lost);
        self.after = skipped.to;
        self.queue_slices(skipped.kept);
    }

    /// Queues a gap up to `to`. Events that were removed before this reader came are not in it.
    pub(super) fn report_gap(&mut self, to: u64, lost: Option<u64>) {
        let after = self.after.max(self.unreported_until);
        if to <= after || lost == Some(0) {
            return;
        }
        // If the range begins before the reader came, it is unknown how many of its events were removed since then.
        let lost = lost.filter(|_| after == self.after);
        let (from, to) = (self.log.id(after + 1), self.log.id(to));
        self.queue
            .push_back(ReadItem::Gap(Gap::Evicted { from, to, lost }));
        if self.log.is_degraded() {
            // To the client, a gap means that the outage has ended. If the outage continues, `Degraded` is queued
            // again.
            self.degradations = self.log.degradations();
            self.queue.push_back(ReadItem::Degraded);
        }
    }

    /// Moves past removed events before `oldest`, but hands out the events that the store keeps beyond retention. If
    /// the reader's streams lost no event (`is_whole`), no gap is queued. Even then, events that belong to every stream
    /// may be missing, such as reports of drops. A ping also reports the number of drops.
    pub(super) fn accept_pinned(
        &mut self,
        kept: &[StoredEvent],
        oldest: u64,
        wanted: &[StoredEvent],
        is_whole: bool,
    ) {
        let Some(last) = kept.last().map(|event| event.sequence.get()) else {
            if is_whole {
                self.after = oldest - 1;
                return;
            }
            return self.skip_evicted(oldest - 1);
        };
        // If every event of the page is before `oldest`, more of them may follow.
        let to = if wanted.len() > kept.len() {
            oldest - 1
        } else {
            last
        };
        // Events that were removed before the reader came are not reported; events that were removed since then are.
        let unreported = self.unreported_until.max(self.after).min(to);
        let earlier = kept.partition_point(|event| event.sequence.get() <= unreported);
        let (earlier, later) = kept.split_at(earlier);
        self.queue_stored(earlier);
        self.after = unreported;
        let gone = to - self.after - later.len() as u64;
        let is_all = self.scope.keys.is_empty() && self.scope.filter.is_none();
        let missed = if is_whole {
            Some(0)
        } else {
            is_all.then_some(gone)
        };
        self.report_gap(to, missed);
        self.after = to;
        self.queue_stored(later);
    }

    pub(super) fn queue_stored(&mut self, events: &[StoredEvent]) {
        if !events.is_empty() {
            let slices = self.build_block(events);
            self.queue_slices(slices);
        }
    }

    /// Moves past the events up to `limit`, which the store could not return. The failure affects only this reader.
    /// If an event is missing, the reader gets a gap, and `Degraded` before it unless the log is degraded anyway.
    pub(super) fn skip_unread(&mut self, error: &Error, limit: u64) {
        let message = error.with_causes();
        self.log.report_diagnostic(Diagnostic::ReadFailed(&message));
        let place = self.queue.len();
        self.skip_evicted(limit);
        let has_gap = matches!(self.queue.get(place), Some(ReadItem::Gap(_)));
        if has_gap && !self.log.is_degraded() {
            self.queue.insert(place, ReadItem::Degraded);
        }
    }

    /// Makes the reader wait until a shared store can be read again. Queues `Degraded`, unless the reader got it
    /// already. The store may have failed for this reader only.
    pub(super) fn block(&mut self, error: &Error) {
        let message = error.with_causes();
        self.log.report_diagnostic(Diagnostic::ReadFailed(&message));
        let is_reported =
            self.blocked_since.is_some() || self.notice_degraded() || self.log.is_degraded();
        if !is_reported {
            self.queue.push_back(ReadItem::Degraded);
        }
        self.blocked_since = Some(self.log.blocked_readers().join(&self.wake_flag));
    }

    /// Ends the wait that [`block`](Self::block) began, because a read of this reader succeeded. If the log itself
    /// still has an outage, or has not reported its end yet, the recovery is reported later, to every reader.
    pub(super) fn unblock(&mut self) {
        if self.blocked_since.take().is_none() {
            return;
        }
        self.log.blocked_readers().leave(&self.wake_flag);
        if !self.log.is_degraded() && self.log.recoveries() == self.recoveries {
            self.queue.push_back(ReadItem::Gap(Gap::Recovered));
        }
    }

    /// Unblocks a reader that reads from memory, once the follower has read the store again. Such a reader reads no
    /// page that would unblock it. Returns whether it was unblocked.
    pub(super) fn notice_unblocked(&mut self) -> bool {
        let rounds = self.log.blocked_readers().rounds();
        let is_over = !self.is_paged() && self.blocked_since.is_some_and(|since| rounds > since);
        if is_over {
            self.wants_page = true;
            self.unblock();
        }
        is_over
    }

    /// Queues `Degraded`, once per outage, before the events that the store did not keep. Returns whether the outage is
    /// new.
    pub(super) fn notice_degraded(&mut self) -> bool {
        let degradations = self.log.degradations();
        let has_increased = degradations > self.degradations;
        self.degradations = degradations;
        if has_increased && self.blocked_since.is_none() {
            self.queue.push_back(ReadItem::Degraded);
        }
        has_increased
    }

    /// Queues a gap for a recovery that no event of the log reports. The caller has queued all events before the
    /// recovery. Returns whether the recovery is new.
    pub(super) fn notice_recovered(&mut self, recoveries: u64) -> bool {
        let has_increased = recoveries > self.recoveries;
        self.recoveries = recoveries;
        if has_increased {
            // The log raises the counter before it wakes readers, so the wake flag may not be raised yet.
            self.wants_page = true;
            self.queue.push_back(ReadItem::Gap(Gap::Recovered));
            if self.log.is_degraded() || self.blocked_since.is_some() {
                // The store has failed again since then, or this reader still cannot read it.
                self.queue.push_back(ReadItem::Degraded);
            }
        }
        has_increased
    }
}
