//! The one thread between the intake and the log: drains, encodes and hands on to the writer. It needs no runtime of the
//! host, and nothing that goes wrong on it reaches the host: a panic in an encoder or a store is caught and counted.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    engine::{
        committer::{BatchCommitter, PendingBatch},
        diagnostics::{Diagnostic, DiagnosticSink},
        encoder::RecordEncoder,
        log::{Log, USED_UP},
        shared::follower,
        store_thread::{OnThread, StoreAppender, spawn},
        warm_up::prime,
    },
    error::Error,
    ingest::{
        buffer::{
            ClassCounts, DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS, Drain, IngestBuffer,
            PushError, RecordClass,
        },
        envelope,
        write_buf::WriteBuf,
    },
    log::batch::Batch,
    store::{Abandoned, EventStore, Tended},
    util::sync::{
        Instant,
        atomic::{AtomicU64, Ordering},
        guard,
    },
};

/// Payload bytes after which a batch is stored, though more is waiting.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long records gather after a turn that found some. A turn that found none sleeps until the next record.
const NAP: Duration = Duration::from_millis(1);
/// The longest nap while records are held back.
const HOLD_NAP: Duration = Duration::from_millis(10);
/// How soon unreported drops are reported again after the store refused the report, and how often a store is asked what
/// its writers left open, where there can be others.
const RETRY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);
const PANICKED: &str = "the event log has ended: its thread panicked";

/// How old a record is before the worker looks at it, so that what is learnt about it within that time still decides
/// about it. Nothing, unless someone asks for it.
#[derive(Debug, Default)]
pub(crate) struct ProcessingDelay(AtomicU64);

impl ProcessingDelay {
    #[cfg(feature = "spans")]
    pub(crate) fn set(&self, age: Duration) {
        self.0.store(
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Settings of the thread and its buffer.
pub(crate) struct WorkerSettings {
    pub(crate) buffer_bytes: usize,
    pub(crate) buffer_events: usize,
    pub(crate) on_thread: OnThread,
    pub(crate) hold: Arc<ProcessingDelay>,
    /// Where operators read of trouble.
    pub(crate) tell: Option<DiagnosticSink>,
}

impl fmt::Debug for WorkerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSettings")
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            buffer_bytes: DEFAULT_BUFFER_BYTES,
            buffer_events: DEFAULT_BUFFER_EVENTS,
            on_thread: Arc::new(|| Box::new(())),
            hold: Arc::default(),
            tell: None,
        }
    }
}

/// The running log: closing it, or dropping it, ends the thread after everything buffered is stored.
#[derive(Debug)]
pub(crate) struct LogRuntime {
    pub(crate) intake: Arc<IngestBuffer>,
    pub(crate) log: Arc<Log>,
}

impl LogRuntime {
    pub(crate) fn start<T: RecordEncoder>(
        store: Arc<dyn EventStore>,
        settings: WorkerSettings,
        translator: impl FnOnce(&Arc<Log>) -> T,
    ) -> Result<Self, Error> {
        let intake = Arc::new(IngestBuffer::new(
            settings.buffer_bytes,
            settings.buffer_events,
        ));
        let on_thread = settings.on_thread;
        let log = Arc::new(Log::open(store, Arc::clone(&intake), settings.tell)?);
        let keeper = StoreAppender::new(&log.store, &on_thread)?;
        let translator = translator(&log);
        let observer = translator.observer();
        if log.is_shared() {
            follower::start(&log, Arc::clone(&observer), &on_thread)?;
        } else {
            prime(&log, &observer);
        }
        let worker = Worker {
            drain: Drain::new(&intake),
            log: Arc::clone(&log),
            intake: Arc::clone(&intake),
            translator,
            writer: BatchCommitter::new(&log, keeper, observer),
            pending: PendingBatch::default(),
            hold: settings.hold,
            tend_at: None,
            unsettled: ClassCounts::default(),
        };
        spawn("livespan", &on_thread, move || worker.run())?;
        Ok(Self { intake, log })
    }

    /// Puts a record into the buffer as soon as there is room for it.
    pub(crate) async fn push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), Error> {
        loop {
            let room = self.intake.room();
            match self.intake.try_push(class, &write) {
                Ok(()) => return Ok(()),
                Err(PushError::Closed) => return Err(self.intake.closed_error()),
                // Nobody makes room in a fork.
                Err(PushError::Full) if self.intake.is_forked() => {
                    return Err(self.intake.closed_error());
                }
                Err(PushError::Full) => room.await,
            }
        }
    }

    /// Refuses later events, stores what is buffered and ends every stream.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.intake.close();
        self.intake.wait_finished(timeout)
    }
}

impl Drop for LogRuntime {
    fn drop(&mut self) {
        self.intake.close();
    }
}

struct Worker<T> {
    intake: Arc<IngestBuffer>,
    log: Arc<Log>,
    drain: Drain,
    translator: T,
    writer: BatchCommitter,
    pending: PendingBatch,
    hold: Arc<ProcessingDelay>,
    /// When the store is asked next what writers left open.
    tend_at: Option<Instant>,
    /// Records that were taken from the buffer and are neither stored nor counted yet: lost, should this thread panic.
    unsettled: ClassCounts,
}

impl<T: RecordEncoder> Worker<T> {
    /// Runs until the log is shut down. What panics here leaves nothing that could be gone on with: then the log ends,
    /// and says so.
    fn run(mut self) {
        self.intake.attach_worker();
        let ended = guard(|| self.work()).unwrap_or(Err(PANICKED));
        if let Err(why) = ended {
            self.break_off(why);
        }
        guard(|| self.writer.count_late());
        let closes = if ended.is_ok() {
            !self.writer.is_owing()
        } else {
            !self.writer.is_failing()
        };
        if closes {
            guard(|| self.log.store.close());
        }
        guard(|| self.log.close());
        self.intake.report_finished();
        self.let_go();
    }

    /// Wakes readers that wait for a store which does not answer, without holding anything of the log.
    fn let_go(self) {
        let patience = self.log.patience();
        let is_memory = guard(|| self.log.store.shared_tail().is_some());
        let readers = Arc::clone(self.log.readers());
        guard(|| drop(self));
        if is_memory != Some(true) {
            readers.let_go(patience);
        }
    }

    fn break_off(&mut self, why: &'static str) {
        guard(|| self.log.diagnose(Diagnostic::Ended(why)));
        let ClassCounts {
            starts,
            ends,
            other,
        } = self.unsettled;
        self.intake.count_dropped(RecordClass::Start, starts);
        self.intake.count_dropped(RecordClass::End, ends);
        self.intake.count_dropped(RecordClass::Other, other);
        self.intake.break_off(why);
    }

    /// Takes, stores and shows until the log is shut down, or tells why it cannot go on.
    fn work(&mut self) -> Result<(), &'static str> {
        self.tend();
        loop {
            if self.tend_at.is_some_and(|at| at <= Instant::now()) {
                self.tend();
            }
            // Read before the counter: what is pushed after this look keeps the loop running once more.
            let closed = self.intake.is_closed();
            let cut = self.cut();
            let busy = self.turn(cut)?;
            if closed && cut == self.intake.sequence() {
                break;
            }
            if busy {
                self.intake.nap(NAP);
            } else {
                let idle = self.idle_time();
                self.intake.sleep(cut, idle);
            }
        }
        self.writer.begin(&mut self.translator);
        self.writer.finish(&mut self.translator);
        Ok(())
    }

    /// The number up to which this turn goes.
    fn cut(&self) -> u64 {
        let cut = self.intake.sequence();
        let mut held = Duration::ZERO;
        while !self.intake.is_urgent() {
            let left = self.hold.age().saturating_sub(held);
            if left.is_zero() {
                return cut;
            }
            // In short naps: while the whole process stands still, for a debugger or its share of the processor, no
            // more than one of them passes.
            let nap = left.min(HOLD_NAP);
            let begun = Instant::now();
            self.intake.nap(nap);
            held += begun.elapsed().min(nap);
        }
        self.intake.sequence()
    }

    /// Stores and publishes everything below `cut`; whether there was anything.
    fn turn(&mut self, cut: u64) -> Result<bool, &'static str> {
        let mut drain = std::mem::replace(&mut self.drain, Drain::empty());
        let mut works = self.writer.begin(&mut self.translator);
        drain.take(&self.intake, cut);
        self.unsettled = drain.counts();
        let mut translated = ClassCounts::default();
        let mut busy = false;
        // Also those after the cut: they may decide about a record before it.
        for record in drain.notes() {
            guard(|| self.translator.note(record));
        }
        for (class, record) in drain.below() {
            busy = true;
            if self.translator.needs_stored(record) {
                works &= self.settle(&mut translated)?;
            }
            self.translate(class, record);
            translated.add(class, 1);
            if self.pending.batch.size() >= BATCH_BYTES_MAX {
                works &= self.settle(&mut translated)?;
            }
        }
        works &= self.settle(&mut translated)?;
        works &= self.writer.finish(&mut self.translator);
        self.drain = drain;
        self.intake.report(cut, !works);
        Ok(busy)
    }

    /// Stores what was translated; whether the store took it. Either way it is accounted for.
    fn settle(&mut self, translated: &mut ClassCounts) -> Result<bool, &'static str> {
        let mut works = true;
        loop {
            if !self.log.has_numbers_for(self.pending.batch.len()) {
                return Err(USED_UP);
            }
            works &= self.store();
            self.unsettled = self.unsettled.without(std::mem::take(translated));
            self.translated(RecordClass::Internal, T::settled);
            if self.pending.batch.is_empty() {
                return Ok(works);
            }
        }
    }

    /// Takes the events that `translate` appends, all or none.
    fn translated(&mut self, class: RecordClass, translate: impl FnOnce(&mut T, &mut Batch)) {
        let batch = &mut self.pending.batch;
        let before = batch.len();
        let translated = guard(|| translate(&mut self.translator, batch));
        if translated.is_none() {
            batch.truncate(before);
        }
        let events = (batch.len() - before) as u64;
        self.pending.count(class, events);
    }

    /// Closes what writers left open that are gone, and opens again what others closed for this one.
    fn tend(&mut self) {
        let tended = guard(|| self.log.store.tend());
        let again = self.log.is_shared() || !matches!(tended, Some(Ok(_)));
        self.tend_at = again.then(|| Instant::now() + RETRY);
        let Some(Ok(Tended {
            abandoned,
            reopened,
        })) = tended
        else {
            return;
        };
        self.writer.begin(&mut self.translator);
        for event in &reopened {
            let batch = &mut self.pending.batch;
            self.translator.encoded(batch.len(), &event.payload);
            batch.push(&event.name, event.key, event.pin, |out| {
                out.extend_from_slice(&event.payload);
            });
            self.pending.count(RecordClass::Start, 1);
        }
        for Abandoned { event, last_heard } in &abandoned {
            self.translated(RecordClass::End, |translator, batch| {
                translator.abandoned(event, *last_heard, batch);
            });
            if self.pending.batch.size() >= BATCH_BYTES_MAX {
                self.store();
            }
        }
        self.store();
    }

    fn store(&mut self) -> bool {
        self.writer.store(&mut self.pending, &mut self.translator)
    }

    fn translate(&mut self, class: RecordClass, record: &[u8]) {
        let PendingBatch { batch, tickets, .. } = &mut self.pending;
        let before = batch.len();
        let translated = guard(|| match envelope::unpack(record) {
            Some((envelope, payload)) => {
                let payload = self.translator.kept(payload);
                batch.push(envelope.name, envelope.key, envelope.pin, |out| {
                    out.extend_from_slice(&payload);
                });
                if envelope.once {
                    batch.mark_once();
                }
                if envelope.ticket > 0 {
                    tickets.push((before, envelope.ticket));
                }
                self.translator.encoded(before, &payload);
            }
            None => self.translator.translate(record, batch),
        });
        if translated.is_some() {
            let events = (batch.len() - before) as u64;
            self.pending.count(class, events);
            return;
        }
        batch.truncate(before);
        self.writer.count_dropped(class, 1);
        while let Some((_, ticket)) = tickets.pop_if(|(place, _)| *place >= before) {
            self.intake.redeem(ticket, None);
        }
    }

    fn idle_time(&mut self) -> Duration {
        let expiry = self.log.tail.expire(Instant::now());
        self.log.forget_evicted(|evicted| {
            guard(|| self.translator.evicted(evicted));
        });
        if self.writer.is_owing() || self.tend_at.is_some() {
            return RETRY;
        }
        let left = expiry.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        left.clamp(NAP, IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{block::Slice, event::Pin, tail::TailRead},
        store::MemoryEventStore,
    };

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes two events of each record, and panics after the first where the record says so.
    struct Moody;

    impl RecordEncoder for Moody {
        fn translate(&mut self, record: &[u8], batch: &mut Batch) {
            batch.push("one", None, Pin::None, |out| out.extend_from_slice(record));
            batch.push("two", None, Pin::None, |out| {
                out.extend_from_slice(record);
                assert_ne!(record, b"panic", "the translator of a test panics");
            });
        }
    }

    #[test]
    fn a_translator_that_panics_costs_its_record_whole_and_no_other() {
        let engine = LogRuntime::start(
            Arc::new(MemoryEventStore::new()),
            WorkerSettings::default(),
            |_| Moody,
        )
        .unwrap();
        for (class, record) in [
            (RecordClass::Start, "first"),
            (RecordClass::End, "panic"),
            (RecordClass::Start, "last"),
        ] {
            engine
                .intake
                .push(class, |room| room.bytes(record.as_bytes()))
                .unwrap();
        }
        engine.intake.flush(PATIENCE).unwrap();
        engine.shutdown(PATIENCE).unwrap();
        let mut events = Vec::new();
        while let TailRead::Events(slices) = engine.log.tail.read_after(events.len() as u64) {
            let read = slices.iter().flat_map(Slice::events);
            events.extend(read.map(|event| {
                (
                    event.name().to_owned(),
                    String::from_utf8(event.payload().to_vec()).unwrap(),
                )
            }));
        }
        let gap = "{\"type\":\"gap\",\"reason\":\"dropped\",\"lost\":{\"starts\":0,\"ends\":1,\"other\":0}}";
        let expected = [
            ("one", "first"),
            ("two", "first"),
            ("one", "last"),
            ("two", "last"),
            ("gap", gap),
        ];
        let mut sorted = expected
            .map(|(name, payload)| (name.to_owned(), payload.to_owned()))
            .to_vec();
        // The records may fall into two turns, and the report comes at the end of the panic's.
        if events[2].0 == "gap" {
            let gap = sorted.remove(4);
            sorted.insert(2, gap);
        }
        assert_eq!(events, sorted);
    }
}
