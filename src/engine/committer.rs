//! What a batch goes through: kept by the store, taken into memory, shown, and counted and reported where the store
//! failed. It runs on the log's thread only.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        diagnostics::Diagnostic,
        encoder::{RecordEncoder, SharedObserver},
        log::Log,
        store_thread::{AppendOutcome, StoreAppender},
    },
    ingest::buffer::{ClassCounts, IngestBuffer, RecordClass},
    log::{batch::Batch, event::Pin},
    store::Appended,
    util::sync::guard,
    wire::control::{self, Dropped},
};

/// How soon a batch is handed again to a store that others append to as well; doubled up to the next one.
const RETRY_SOON: Duration = Duration::from_millis(50);
const RETRY_LATE: Duration = Duration::from_secs(2);
/// How often that is tried after the log was shut down.
const CLOSING_TRIES: u32 = 3;

/// The next batch and what is to be known about it.
#[derive(Debug, Default)]
pub(crate) struct PendingBatch {
    pub(crate) batch: Batch,
    /// To be counted as dropped when the store refuses them.
    counts: ClassCounts,
    /// Places in the batch whose callers want to know the id.
    pub(crate) tickets: Vec<(usize, u64)>,
}

impl PendingBatch {
    /// Takes the memory of a batch that is dealt with, unless a thread that is late still holds it.
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
    intake: Arc<IngestBuffer>,
    keeper: StoreAppender,
    observer: SharedObserver,
    announced: Dropped,
    /// What is to be announced: drops that were counted before the records of this turn were taken. Later ones come
    /// after the records that stood in their way.
    due: Dropped,
    /// Whether the store failed the last time it was asked.
    is_failing: bool,
    late: TimedOutAppend,
}

/// What is not known yet to be lost, because its append takes too long.
#[derive(Clone, Copy, Debug, Default)]
struct TimedOutAppend {
    counts: ClassCounts,
    announced: Option<Dropped>,
}

impl BatchCommitter {
    pub(crate) fn new(log: &Arc<Log>, keeper: StoreAppender, observer: SharedObserver) -> Self {
        Self {
            log: Arc::clone(log),
            intake: Arc::clone(&log.intake),
            keeper,
            observer,
            announced: Dropped::default(),
            due: Dropped::default(),
            is_failing: false,
            late: TimedOutAppend::default(),
        }
    }

    /// Begins a turn: what was dropped until now is reported at its end. What the store refused comes before what it
    /// may take now. Whether the store works.
    pub(crate) fn begin(&mut self, translator: &mut impl RecordEncoder) -> bool {
        self.due = self.intake.dropped();
        !self.is_failing || self.recover(translator)
    }

    /// Ends a turn; whether everything that was to be reported is in the log.
    pub(crate) fn finish(&mut self, translator: &mut impl RecordEncoder) -> bool {
        if self.is_failing {
            self.recover(translator)
        } else {
            self.announce(translator)
        }
    }

    /// Whether drops wait to be reported, or the store to be asked again.
    pub(crate) fn is_owing(&self) -> bool {
        self.is_failing || self.intake.dropped() != self.announced
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Counts what a store that takes too long still holds: nobody will learn what becomes of it. For the end of the log.
    pub(crate) fn count_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        self.count_refused(late.counts);
    }

    /// Counts what this thread itself could not keep: it is announced at the end of the turn.
    pub(crate) fn count_dropped(&mut self, class: RecordClass, count: u64) {
        self.intake.count_dropped(class, count);
        match class {
            RecordClass::Start => self.due.starts += count,
            RecordClass::End => self.due.ends += count,
            RecordClass::Other => self.due.other += count,
            RecordClass::Internal => {}
        }
    }

    /// Stores the batch and shows it; whether the store took it. Readers get also what it refuses, unless others
    /// append to it too: then they would get numbers that are not the store's.
    pub(crate) fn store(
        &mut self,
        pending: &mut PendingBatch,
        translator: &mut impl RecordEncoder,
    ) -> bool {
        if pending.batch.is_empty() {
            return true;
        }
        let counts = std::mem::take(&mut pending.counts);
        let batch = Arc::new(std::mem::take(&mut pending.batch));
        let tickets = std::mem::take(&mut pending.tickets);
        if self.is_failing && !self.recover(translator) {
            self.refuse(&batch, counts, translator);
        } else {
            match self.append(&batch) {
                AppendOutcome::Stored(appended) => {
                    self.show(&appended, &batch, translator);
                    self.redeem_kept(tickets, &appended);
                    pending.recycle(batch);
                    return true;
                }
                AppendOutcome::TimedOut => {
                    self.late.counts = counts;
                    self.refuse(&batch, ClassCounts::default(), translator);
                }
                AppendOutcome::Failed(_) => self.refuse(&batch, counts, translator),
            }
        }
        for (_, ticket) in tickets {
            self.intake.redeem(ticket, None);
        }
        pending.recycle(batch);
        false
    }

    /// Takes in what the store has just taken, and shows it.
    fn show(&mut self, appended: &Appended, batch: &Batch, translator: &mut impl RecordEncoder) {
        let Appended { first, repeated } = appended;
        let first = first.get();
        let kept;
        let batch = if repeated.is_empty() {
            batch
        } else {
            guard(|| translator.repeated(repeated));
            kept = batch.without(repeated);
            &kept
        };
        self.take(first, batch, |is_new| {
            if is_new {
                guard(|| translator.appended(first));
            } else {
                guard(|| translator.superseded());
            }
        });
        self.publish(translator);
    }

    /// Tells callers the ids of their events; of what was kept before, nobody knows it any more.
    fn redeem_kept(&self, tickets: Vec<(usize, u64)>, appended: &Appended) {
        for (place, ticket) in tickets {
            let before = appended.repeated.partition_point(|one| *one < place);
            let is_kept = appended.repeated.get(before) != Some(&place);
            let sequence = appended.first.get() + (place - before) as u64;
            let id = is_kept.then(|| self.log.id(sequence));
            self.intake.redeem(ticket, id);
        }
    }

    /// Takes in what the store keeps; `taken` is told whether it was not there yet.
    fn take(&self, first: u64, batch: &Batch, taken: impl FnOnce(bool)) {
        if self.log.is_shared() {
            self.log.take_own(first, batch, &self.observer, taken);
        } else {
            self.log.take(first, batch);
            taken(true);
        }
    }

    fn publish(&self, translator: &mut impl RecordEncoder) {
        self.log.tail.publish();
        self.log.forget_evicted(|evicted| {
            guard(|| translator.evicted(evicted));
        });
    }

    /// Counts what the store refused, and shows it all the same.
    fn refuse(&mut self, batch: &Batch, counts: ClassCounts, translator: &mut impl RecordEncoder) {
        if self.log.is_shared() {
            guard(|| translator.refused());
        } else {
            let first = self.log.take_unkept(batch);
            guard(|| translator.shown(first));
            self.publish(translator);
        }
        self.count_refused(counts);
    }

    fn count_refused(&mut self, counts: ClassCounts) {
        let ClassCounts {
            starts,
            ends,
            other,
        } = counts;
        self.count_dropped(RecordClass::Start, starts);
        self.count_dropped(RecordClass::End, ends);
        self.count_dropped(RecordClass::Other, other);
    }

    /// Hands the batch to the store; to one that others append to, too, until it takes it.
    fn append(&mut self, batch: &Arc<Batch>) -> AppendOutcome {
        let is_shared = self.log.is_shared();
        let mut wait = RETRY_SOON;
        let mut tries_left = CLOSING_TRIES;
        loop {
            let kept = self.keeper.append(self.log.tail.next(), batch);
            match &kept {
                AppendOutcome::Stored(_) => {
                    self.succeed();
                    return kept;
                }
                AppendOutcome::Failed(error) => self.fail(error.to_string()),
                AppendOutcome::TimedOut => self.fail("the event store takes too long".to_owned()),
            }
            if self.intake.is_closed() {
                tries_left -= 1;
            }
            if !is_shared || tries_left == 0 {
                return kept;
            }
            self.intake.rest(wait);
            wait = (wait * 2).min(RETRY_LATE);
        }
    }

    fn fail(&mut self, message: String) {
        self.is_failing = true;
        self.log.fail(message);
    }

    fn succeed(&mut self) {
        if !std::mem::take(&mut self.is_failing) && !self.log.is_degraded() {
            return;
        }
        if self.log.is_shared() && self.intake.dropped() == self.announced {
            self.log.recover_whole();
        } else {
            // What was lost is reported next, or is what the store has just taken.
            self.log.recover();
        }
    }

    /// Asks the store whether it works again, with the report of what it lost; whether it does.
    fn recover(&mut self, translator: &mut impl RecordEncoder) -> bool {
        if self.keeper.is_late() {
            let late = match self.keeper.settle() {
                None => return false,
                Some(settled) => (settled, std::mem::take(&mut self.late)),
            };
            match late {
                (Ok(()), late) => self.announced = late.announced.unwrap_or(self.announced),
                (Err(_), late) => self.count_refused(late.counts),
            }
        }
        if self.due == self.announced {
            // What took so long is kept after all.
            self.is_failing = false;
            self.log.recover_whole();
            return true;
        }
        self.announce(translator)
    }

    /// Stores what was dropped since the last report as an event of the log; whether the store took it.
    fn announce(&mut self, translator: &mut impl RecordEncoder) -> bool {
        let dropped = self.due;
        let new = dropped.since(self.announced);
        if new.is_zero() {
            return true;
        }
        self.log.diagnose(Diagnostic::Dropped(new));
        let mut batch = Batch::default();
        batch.push(control::GAP, None, Pin::None, |out| {
            control::dropped_payload(out, new);
        });
        if self.is_failing {
            guard(|| translator.recovered(&mut batch));
        }
        let batch = Arc::new(batch);
        match self.append(&batch) {
            AppendOutcome::Stored(appended) => {
                self.take(appended.first.get(), &batch, |_| {});
                self.announced = dropped;
                self.publish(translator);
                true
            }
            AppendOutcome::TimedOut => {
                // Its number may be taken in the store now, so it is also taken here.
                self.late.announced = Some(dropped);
                self.log.take_unkept(&batch);
                self.publish(translator);
                false
            }
            AppendOutcome::Failed(_) => false,
        }
    }
}
