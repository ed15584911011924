//! The one thread between the intake and the log: drains, encodes, stores, publishes. It needs no runtime of the
//! host, and nothing that goes wrong on it reaches the host: a panic in an encoder or a store is caught and counted.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sse::{
        batch::Batch,
        control::{self, Dropped},
        event::{Pin, StreamKey},
        intake::{Class, DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS, Drain, Intake},
        log::Log,
        record,
        store::EventStore,
    },
};

/// Payload bytes after which a batch is stored, though more is waiting.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long records gather after a turn that found some. A turn that found none sleeps until the next record.
const NAP: Duration = Duration::from_millis(1);
/// The longest nap while records are held back.
const HOLD_NAP: Duration = Duration::from_millis(10);
/// How soon unreported drops are reported again after the store refused the report.
const RETRY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);

/// Turns records into events. It runs on the worker thread only.
pub(crate) trait Translator: Send + 'static {
    /// Sees every note of a turn before any of its records is translated.
    fn note(&mut self, _record: &[u8]) {}

    /// Whether everything before the record must be stored before it is translated.
    fn needs_stored(&self, _record: &[u8]) -> bool {
        false
    }

    /// An event that its caller had encoded stands at this place of the batch.
    fn encoded(&mut self, _place: usize, _payload: &[u8]) {}

    /// Appends the events that the record stands for.
    fn translate(&mut self, record: &[u8], batch: &mut Batch);

    /// The batch, of all events translated since the last call, is stored as `first..` and not yet visible.
    fn appended(&mut self, _first: u64) {}

    /// The batch of all events translated since the last call was refused by the store.
    fn refused(&mut self) {}

    /// These streams hold no event any more.
    fn evicted(&mut self, _keys: &[StreamKey]) {}
}

/// How old a record is before the worker looks at it, so that what is learnt about it within that time still decides
/// about it. Nothing, unless someone asks for it.
#[derive(Debug, Default)]
pub(crate) struct Hold(AtomicU64);

impl Hold {
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
    /// Runs on the thread before anything else; what it returns lives as long as the thread.
    pub(crate) on_thread: Box<dyn FnOnce() -> Box<dyn Any> + Send>,
    pub(crate) hold: Arc<Hold>,
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
            on_thread: Box::new(|| Box::new(())),
            hold: Arc::default(),
        }
    }
}

/// The running log: closing it, or dropping it, ends the thread after everything buffered is stored.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) intake: Arc<Intake>,
    pub(crate) log: Arc<Log>,
}

impl Engine {
    pub(crate) fn start<T: Translator>(
        store: Arc<dyn EventStore>,
        settings: WorkerSettings,
        translator: impl FnOnce(&Arc<Log>) -> T,
    ) -> Result<Self, Error> {
        let intake = Arc::new(Intake::new(settings.buffer_bytes, settings.buffer_events));
        let log = Arc::new(Log::open(store, Arc::clone(&intake))?);
        let worker = Worker {
            drain: Drain::new(&intake),
            log: Arc::clone(&log),
            intake: Arc::clone(&intake),
            translator: translator(&log),
            batch: Batch::default(),
            pending: Counts::default(),
            tickets: Vec::new(),
            announced: Dropped::default(),
            due: Dropped::default(),
            unreported: false,
            hold: settings.hold,
        };
        let on_thread = settings.on_thread;
        // The handle is not kept: the thread reports its end through the intake, so that waiting for it can be
        // given up when a store hangs.
        thread::Builder::new()
            .name("livespan".to_owned())
            .spawn(move || {
                let _guard = on_thread();
                worker.run();
            })
            .map_err(|error| Error::io("start the livespan thread", error))?;
        Ok(Self { intake, log })
    }

    /// Refuses later events, stores what is buffered and ends every stream.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.intake.close();
        self.intake.wait_finished(timeout)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.intake.close();
    }
}

/// Events of the batch by class, to be counted as dropped when the store refuses it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    starts: u64,
    ends: u64,
    other: u64,
}

struct Worker<T> {
    intake: Arc<Intake>,
    log: Arc<Log>,
    drain: Drain,
    translator: T,
    batch: Batch,
    pending: Counts,
    /// Places in the batch whose callers want to know the id.
    tickets: Vec<(usize, u64)>,
    announced: Dropped,
    /// What is to be announced: drops that were counted before the records of this turn were taken. Later ones come
    /// after the records that stood in their way.
    due: Dropped,
    /// Whether the store refused the last report of drops.
    unreported: bool,
    hold: Arc<Hold>,
}

impl<T: Translator> Worker<T> {
    fn run(mut self) {
        self.intake.attach_worker();
        loop {
            // Read before the counter: what is pushed after this look keeps the loop running once more.
            let closed = self.intake.is_closed();
            let cut = self.cut();
            let busy = self.turn(cut);
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
        self.due = self.intake.dropped();
        self.announce_dropped();
        self.log.close();
        self.intake.report_finished();
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
    fn turn(&mut self, cut: u64) -> bool {
        let mut drain = std::mem::replace(&mut self.drain, Drain::empty());
        self.due = self.intake.dropped();
        drain.take(&self.intake, cut);
        let mut failed = false;
        let mut busy = false;
        if self.unreported {
            // What the store refused comes before what it may take now.
            failed |= !self.announce_dropped();
        }
        // Also those after the cut: they may decide about a record before it.
        for record in drain.notes() {
            guard(|| self.translator.note(record));
        }
        for (class, record) in drain.below() {
            busy = true;
            if self.translator.needs_stored(record) {
                failed |= !self.store();
            }
            self.translate(class, record);
            if self.batch.size() >= BATCH_BYTES_MAX {
                failed |= !self.store();
            }
        }
        failed |= !self.store();
        failed |= !self.announce_dropped();
        self.drain = drain;
        self.intake.report(cut, failed);
        busy
    }

    fn translate(&mut self, class: Class, record: &[u8]) {
        let before = self.batch.len();
        let translated = guard(|| match record::unpack(record, &mut self.batch) {
            Some(unpacked) => {
                if unpacked.ticket > 0 {
                    self.tickets.push((before, unpacked.ticket));
                }
                self.translator.encoded(before, unpacked.payload);
            }
            None => self.translator.translate(record, &mut self.batch),
        });
        if translated.is_none() {
            self.batch.truncate(before);
            self.count_dropped(class, 1);
            while let Some((_, ticket)) = self.tickets.pop_if(|(place, _)| *place >= before) {
                self.intake.redeem(ticket, None);
            }
            return;
        }
        let events = (self.batch.len() - before) as u64;
        match class {
            Class::Start => self.pending.starts += events,
            Class::End => self.pending.ends += events,
            Class::Other | Class::Note => self.pending.other += events,
        }
    }

    /// Stores the batch and shows it; whether the store took it.
    fn store(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let first = self.append();
        if let Some(first) = first {
            self.publish(first);
        } else {
            self.count_refused();
        }
        self.pending = Counts::default();
        self.batch.clear();
        first.is_some()
    }

    fn publish(&mut self, first: u64) {
        guard(|| self.translator.appended(first));
        self.log.tail.publish();
        for (place, ticket) in self.tickets.drain(..) {
            self.intake
                .redeem(ticket, Some(self.log.id(first + place as u64)));
        }
        let evicted = self.log.tail.take_evicted_keys();
        guard(|| self.translator.evicted(&evicted));
    }

    fn count_refused(&mut self) {
        guard(|| self.translator.refused());
        let Counts {
            starts,
            ends,
            other,
        } = self.pending;
        self.count_dropped(Class::Start, starts);
        self.count_dropped(Class::End, ends);
        self.count_dropped(Class::Other, other);
        for (_, ticket) in self.tickets.drain(..) {
            self.intake.redeem(ticket, None);
        }
    }

    /// Counts what this thread itself could not keep: it is announced at the end of the turn.
    fn count_dropped(&mut self, class: Class, count: u64) {
        self.intake.count_dropped(class, count);
        match class {
            Class::Start => self.due.starts += count,
            Class::End => self.due.ends += count,
            Class::Other => self.due.other += count,
            Class::Note => {}
        }
    }

    fn append(&self) -> Option<u64> {
        // The log notes the store's own errors itself.
        let Some(result) = guard(|| self.log.append(&self.batch)) else {
            self.log.fail("the event store panicked".to_owned());
            return None;
        };
        result.ok()
    }

    /// Stores what was dropped since the last report as an event of the log; whether the store took it.
    fn announce_dropped(&mut self) -> bool {
        let dropped = self.due;
        let new = dropped.since(self.announced);
        if new.is_zero() {
            return true;
        }
        self.batch.push(control::GAP, None, Pin::None, |out| {
            control::dropped_payload(out, new);
        });
        let stored = self.append();
        if let Some(first) = stored {
            guard(|| self.translator.appended(first));
            self.log.tail.publish();
            self.announced = dropped;
        } else {
            guard(|| self.translator.refused());
        }
        self.batch.clear();
        self.unreported = stored.is_none();
        stored.is_some()
    }

    fn idle_time(&mut self) -> Duration {
        let expiry = self.log.tail.expire(Instant::now());
        let evicted = self.log.tail.take_evicted_keys();
        if !evicted.is_empty() {
            guard(|| self.translator.evicted(&evicted));
        }
        if self.intake.dropped() != self.announced {
            return RETRY;
        }
        let left = expiry.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        left.clamp(NAP, IDLE)
    }
}

/// Runs code that must not take the thread down; `None` when it panicked.
fn guard<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::{block::Slice, store::MemoryEventStore, tail::TailRead};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes two events of each record, and panics after the first where the record says so.
    struct Moody;

    impl Translator for Moody {
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
        let engine = Engine::start(
            Arc::new(MemoryEventStore::new()),
            WorkerSettings::default(),
            |_| Moody,
        )
        .unwrap();
        for (class, record) in [
            (Class::Start, "first"),
            (Class::End, "panic"),
            (Class::Start, "last"),
        ] {
            engine
                .intake
                .push(class, record.len(), |out| {
                    out.extend_from_slice(record.as_bytes());
                })
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
