//! [`BatchCommitter`] stores a batch, adds it to the tail and publishes it. It counts the events that the store refused
//! and reports them to readers, so no event is lost uncounted. It runs on the worker thread only.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        append_timeout::{AppendOutcome, StoreAppender},
        diagnostics::Diagnostic,
        encoder::{RecordEncoder, SharedObserver},
        log::Log,
    },
    error::Error,
    ingest::buffer::{Ack, ClassCounts, IngestBuffer, RecordClass},
    log::{batch::Batch, event::Pinning},
    store::Appended,
    util::sync::{Instant, catch_panic},
    wire::control::{self, Dropped},
};

/// Delay before a batch is appended again to a shared store; doubled each time, up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Upper bound on the attempts to append a batch to a shared store after shutdown of the log.
const CLOSING_ATTEMPTS: u32 = 3;
/// Interval of the check for shutdown while a shared store is late with its answer.
const ANSWER_CHECK: Duration = Duration::from_millis(50);

/// The next batch and its bookkeeping.
#[derive(Debug, Default)]
pub(crate) struct PendingBatch {
    pub(crate) batch: Batch,
    /// The batch's events by class. They are counted as dropped if the store refuses the batch.
    counts: ClassCounts,
    /// The events whose callers wait for an id: the index in the batch, and the number of the pending acknowledgement.
    pub(crate) acks: Vec<(usize, u64)>,
}

impl PendingBatch {
    /// Reuses the memory of a finished batch, unless a late append still holds it.
    fn recycle(&mut self, batch: Arc<Batch>) {
        if let Ok(mut batch) = Arc::try_unwrap(batch) {
            batch.clear();
            self.batch = batch;
        }
    }

    pub(crate) fn count(&mut self, class: RecordClass, events: u64) {
        let class = if class == RecordClass::Internal {
            RecordClass::Other
        } else {
            class
        };
        self.counts.add(class, events);
    }
}

pub(crate) struct BatchCommitter {
    log: Arc<Log>,
    buffer: Arc<IngestBuffer>,
    appender: StoreAppender,
    observer: SharedObserver,
    drops_reported: Dropped,
    /// Drops to report at the end of this turn: those counted before the turn drained its records, and those that the
    /// turn causes. Other drops are left to the next turn, because the records of this turn came before them.
    drops_to_report: Dropped,
    /// Whether the last call of the store failed or timed out.
    is_failing: bool,
    timed_out: TimedOutAppend,
}

/// Event counts of a batch whose append is late: it is not known yet whether the batch is lost.
#[derive(Clone, Copy, Debug, Default)]
struct TimedOutAppend {
    counts: ClassCounts,
    drops_reported: Option<Dropped>,
}

impl BatchCommitter {
    pub(crate) fn new(log: &Arc<Log>, appender: StoreAppender, observer: SharedObserver) -> Self {
        Self {
            log: Arc::clone(log),
            buffer: Arc::clone(&log.buffer),
            appender,
            observer,
            drops_reported: Dropped::default(),
            drops_to_report: Dropped::default(),
            is_failing: false,
            timed_out: TimedOutAppend::default(),
        }
    }

    /// Begins a turn. If the store was failing, tries it again and reports all drops counted so far. Otherwise, the
    /// drops are reported at the turn's end. Returns whether the store works.
    pub(crate) fn begin_turn(&mut self, encoder: &mut impl RecordEncoder) -> bool {
        self.drops_to_report = self.buffer.dropped();
        !self.is_failing || self.recover(encoder)
    }

    /// Ends a turn. Returns whether all drops due at this turn are reported in the log.
    pub(crate) fn finish_turn(&mut self, encoder: &mut impl RecordEncoder) -> bool {
        if self.is_failing {
            self.recover(encoder)
        } else {
            self.report_drops(encoder)
        }
    }

    /// Returns whether the last call of the store failed or timed out.
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Returns whether drops remain to be reported, or the store must be tried again.
    pub(crate) fn has_work_left(&self) -> bool {
        self.is_failing || self.buffer.dropped() != self.drops_reported
    }

    /// Returns whether an append is late. A further call of the store may then hang as well.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.appender.has_timed_out()
    }

    /// Asks the store to check that its events are still in place, unless an append is late. A failed check counts as a
    /// failure of the store.
    pub(crate) fn check_store(&mut self) {
        if !self.appender.has_timed_out()
            && let Err(error) = self.ask_store()
        {
            self.store_failed(error.with_causes());
        }
    }

    /// A store is foreign code: a panic in it is caught here.
    fn ask_store(&self) -> Result<(), Error> {
        catch_panic(|| self.log.store.check())
            .unwrap_or_else(|| Err(Error::store_failed("the event store panicked")))
    }

    /// Counts the events of a late append as dropped. Called at the end of the log, when its outcome can no longer be
    /// learnt.
    pub(crate) fn count_timed_out(&mut self) {
        let timed_out = std::mem::take(&mut self.timed_out);
        self.count_unstored(timed_out.counts);
    }

    /// Counts events that this thread had to drop. They are reported at the end of the turn.
    pub(crate) fn count_dropped(&mut self, class: RecordClass, count: u64) {
        self.buffer.count_dropped(class, count);
        match class {
            RecordClass::Start => self.drops_to_report.starts += count,
            RecordClass::End => self.drops_to_report.ends += count,
            RecordClass::Other => self.drops_to_report.other += count,
            RecordClass::Internal => {}
        }
    }

    /// Stores the batch and publishes it. Returns whether the store kept it. Readers get a refused batch too, unless
    /// the store is shared: only the store can number a shared log's events.
    pub(crate) fn store(
        &mut self,
        pending: &mut PendingBatch,
        encoder: &mut impl RecordEncoder,
    ) -> bool {
        if pending.batch.is_empty() {
            return true;
        }
        let counts = std::mem::take(&mut pending.counts);
        let batch = Arc::new(std::mem::take(&mut pending.batch));
        let acks = std::mem::take(&mut pending.acks);
        if self.is_failing && !self.recover(encoder) {
            self.publish_unstored(&batch, counts, encoder);
        } else {
            match self.append(&batch) {
                AppendOutcome::Stored(appended) => {
                    self.publish_stored(&appended, &batch, encoder);
                    self.resolve_stored_acks(acks, &appended);
                    pending.recycle(batch);
                    return true;
                }
                AppendOutcome::TimedOut => {
                    self.timed_out.counts = counts;
                    self.publish_unstored(&batch, ClassCounts::default(), encoder);
                }
                AppendOutcome::Failed(_) => self.publish_unstored(&batch, counts, encoder),
            }
        }
        for (_, ack) in acks {
            self.buffer.resolve_ack(ack, None);
        }
        pending.recycle(batch);
        false
    }

    /// Adds to the tail a batch that the store has just kept, and publishes it.
    fn publish_stored(
        &mut self,
        appended: &Appended,
        batch: &Batch,
        encoder: &mut impl RecordEncoder,
    ) {
        let Appended { first, duplicates } = appended;
        let first = first.get();
        let kept;
        let batch = if duplicates.is_empty() {
            batch
        } else {
            catch_panic(|| encoder.on_duplicates(duplicates));
            kept = batch.without(duplicates);
            &kept
        };
        self.append_to_tail(first, batch, |is_new| {
            if is_new {
                catch_panic(|| encoder.on_stored(first));
            } else {
                catch_panic(|| encoder.on_already_observed());
            }
        });
        self.publish(encoder);
    }

    /// Answers the callers that wait for the ids of their events. A duplicate gets no id: the id of its first copy is
    /// not known.
    fn resolve_stored_acks(&self, acks: Vec<(usize, u64)>, appended: &Appended) {
        for (position, ack) in acks {
            let before = appended.duplicates.partition_point(|one| *one < position);
            let is_kept = appended.duplicates.get(before) != Some(&position);
            let sequence = appended.first.get() + (position - before) as u64;
            let answer = if is_kept {
                Ack::Stored(self.log.id(sequence))
            } else {
                Ack::Duplicate
            };
            self.buffer.resolve_ack(ack, Some(answer));
        }
    }

    /// Adds a stored batch. Calls `on_taken(true)` if this thread inserted it, `on_taken(false)` if the follower had
    /// read it from the store first.
    fn append_to_tail(&self, first: u64, batch: &Batch, on_taken: impl FnOnce(bool)) {
        if self.log.is_shared() {
            self.log.merge_own(first, batch, &self.observer, on_taken);
        } else {
            self.log.append_stored(first, batch);
            on_taken(true);
        }
    }

    fn publish(&self, encoder: &mut impl RecordEncoder) {
        self.log.tail.publish();
        self.log.forget_evicted(|evicted| {
            catch_panic(|| encoder.on_evicted(evicted));
        });
    }

    /// Counts the events as dropped. Publishes the batch nevertheless, unless the store is shared.
    fn publish_unstored(
        &mut self,
        batch: &Batch,
        counts: ClassCounts,
        encoder: &mut impl RecordEncoder,
    ) {
        if self.log.is_shared() {
            catch_panic(|| encoder.on_rejected());
        } else {
            let first = self.log.append_unstored(batch);
            catch_panic(|| encoder.on_unstored(first));
            self.publish(encoder);
        }
        self.count_unstored(counts);
    }

    fn count_unstored(&mut self, counts: ClassCounts) {
        let ClassCounts {
            starts,
            ends,
            other,
        } = counts;
        self.count_dropped(RecordClass::Start, starts);
        self.count_dropped(RecordClass::End, ends);
        self.count_dropped(RecordClass::Other, other);
    }

    /// Appends the batch to the store. For a shared store, retries until the store accepts it. Once the log is closed,
    /// only [`CLOSING_ATTEMPTS`] attempts follow.
    fn append(&mut self, batch: &Arc<Batch>) -> AppendOutcome {
        let is_shared = self.log.is_shared();
        let mut wait = RETRY_MIN;
        let mut attempts_left = CLOSING_ATTEMPTS;
        loop {
            let mut outcome = self.appender.append(self.log.tail.next(), batch);
            if matches!(outcome, AppendOutcome::TimedOut) {
                self.store_failed("the event store takes too long".to_owned());
                if is_shared {
                    outcome = self.await_late_answer();
                }
            }
            match &outcome {
                AppendOutcome::Stored(_) => {
                    self.store_succeeded();
                    return outcome;
                }
                AppendOutcome::TimedOut => return outcome,
                AppendOutcome::Failed(error) => self.store_failed(error.with_causes()),
            }
            if self.buffer.is_closed() {
                attempts_left -= 1;
            }
            if !is_shared || attempts_left == 0 {
                return outcome;
            }
            self.buffer.back_off(wait);
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Waits for the answer to a late append to a shared store. A time-out is not a refusal: if the batch were appended
    /// again, it could be stored twice. After shutdown of the log, the wait is bounded by one more append time-out.
    fn await_late_answer(&mut self) -> AppendOutcome {
        let mut closing = None;
        loop {
            match self.appender.wait_timed_out(ANSWER_CHECK) {
                Some(Ok(appended)) => return AppendOutcome::Stored(appended),
                Some(Err(error)) => return AppendOutcome::Failed(error),
                None => {}
            }
            if self.buffer.is_closed() {
                let since: Instant = *closing.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.log.append_timeout() {
                    return AppendOutcome::TimedOut;
                }
            }
        }
    }

    fn store_failed(&mut self, message: String) {
        self.is_failing = true;
        self.log.fail(message);
    }

    fn store_succeeded(&mut self) {
        if !std::mem::take(&mut self.is_failing) && !self.log.is_degraded() {
            return;
        }
        // On a shared store, readers may get the report before this thread learns that it is stored. They would take
        // the report for the end of an earlier outage, so this recovery is counted as well.
        if self.log.is_shared() || self.buffer.dropped() == self.drops_reported {
            self.log.recover_without_loss();
        } else {
            // For readers, the report of the loss ends the outage. It is stored next, or has just been stored.
            self.log.recover();
        }
    }

    /// Tries the store again: learns the outcome of a late append, asks the store to check its events, then reports the
    /// drops. Returns whether the store works.
    fn recover(&mut self, encoder: &mut impl RecordEncoder) -> bool {
        if self.appender.has_timed_out() {
            let timed_out = match self.appender.wait_timed_out(Duration::ZERO) {
                None => return false,
                Some(settled) => (settled, std::mem::take(&mut self.timed_out)),
            };
            match timed_out {
                (Ok(_), timed_out) => {
                    self.drops_reported = timed_out.drops_reported.unwrap_or(self.drops_reported);
                }
                (Err(_), timed_out) => self.count_unstored(timed_out.counts),
            }
        }
        if self.ask_store().is_err() {
            return false;
        }
        if self.drops_to_report == self.drops_reported {
            // Nothing was lost, for example because the late append was stored after all.
            self.is_failing = false;
            self.log.recover_without_loss();
            return true;
        }
        self.report_drops(encoder)
    }

    /// Stores a report of the drops since the last report. Returns whether the store kept it, or `true` if there are
    /// none.
    fn report_drops(&mut self, encoder: &mut impl RecordEncoder) -> bool {
        let dropped = self.drops_to_report;
        let new = dropped.since(self.drops_reported);
        if new.is_zero() {
            return true;
        }
        self.log.report_diagnostic(Diagnostic::Dropped(new));
        let mut batch = Batch::default();
        batch.push(control::GAP, None, Pinning::None, |out| {
            control::dropped_payload(out, new);
        });
        if self.is_failing {
            catch_panic(|| encoder.on_store_recovered(&mut batch));
        }
        let batch = Arc::new(batch);
        match self.append(&batch) {
            AppendOutcome::Stored(appended) => {
                self.append_to_tail(appended.first.get(), &batch, |_| {});
                self.drops_reported = dropped;
                self.publish(encoder);
                true
            }
            AppendOutcome::TimedOut => {
                self.timed_out.drops_reported = Some(dropped);
                if !self.log.is_shared() {
                    // The store may have used the report's sequence, so memory uses it, too.
                    self.log.append_unstored(&batch);
                    self.publish(encoder);
                }
                false
            }
            AppendOutcome::Failed(_) => false,
        }
    }
}
