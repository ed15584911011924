//! The worker thread of the log. In each *turn*, it drains the ingest buffer, encodes its records and passes batches
//! to the committer. It needs no async runtime. No failure on it reaches the host: a panic in an encoder or a store
//! is caught and counted.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    engine::{
        append_timeout::StoreAppender,
        committer::{BatchCommitter, PendingBatch},
        diagnostics::{Diagnostic, DiagnosticSink},
        encoder::RecordEncoder,
        log::{Log, NUMBERS_USED_UP},
        reader_registry::wake_time,
        shared::follower,
        threads::{OnThread, spawn_log_thread},
        warm_up::warm_up,
    },
    error::Error,
    ingest::{
        buffer::{
            BATCH_RECORDS, ClassCounts, DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS, Drain,
            GATHER_TIME, IngestBuffer, PushError, RecordClass, TurnPace, TurnResult,
        },
        envelope,
        write_buf::WriteBuf,
    },
    log::batch::Batch,
    store::{AbandonedEvent, RecoveredEvents, kind::StoreKind, threads::with_thread_hook},
    util::sync::{
        Instant,
        atomic::{AtomicU64, Ordering},
        catch_panic, thread,
    },
};

/// Payload size after which a batch is stored, even if more records wait.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Number of parks into which the processing delay is divided.
const DELAY_STEPS: u32 = 10;
/// Interval at which an idle worker tries a failing store again and reports drops. At the same interval, the worker
/// asks the store for events that dead writers left open: a shared store again and again, any other store until it
/// answers without an error.
const RETRY: Duration = Duration::from_secs(1);
/// Interval at which an idle worker calls an encoder that waits for an answer of the store.
const STORE_ANSWER: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(3600);
/// How long shutdown and flush wait for a store that keeps failing.
pub(crate) const FAILING_STORE_TIMEOUT: Duration = Duration::from_millis(500);
const PANICKED: &str = "the event log has ended: its thread panicked";

/// The age that a record must reach before the worker encodes it. Within that time, a later record can still hide the
/// span, for example because it belongs to one of our own requests. Zero by default.
#[derive(Debug, Default)]
pub(crate) struct ProcessingDelay(AtomicU64);

impl ProcessingDelay {
    pub(crate) fn set(&self, age: Duration) {
        self.0.store(
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Settings of the worker thread and its buffer.
pub(crate) struct WorkerSettings {
    pub(crate) buffer_bytes: usize,
    pub(crate) buffer_events: usize,
    pub(crate) on_thread: OnThread,
    pub(crate) processing_delay: Arc<ProcessingDelay>,
    /// Receives diagnostics for operators.
    pub(crate) on_diagnostic: Option<DiagnosticSink>,
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
            processing_delay: Arc::default(),
            on_diagnostic: None,
        }
    }
}

/// The running log. Closing or dropping it ends the thread after all buffered records are stored or refused.
#[derive(Debug)]
pub(crate) struct LogRuntime {
    pub(crate) buffer: Arc<IngestBuffer>,
    pub(crate) log: Arc<Log>,
}

impl LogRuntime {
    pub(crate) fn start<T: RecordEncoder>(
        store: StoreKind,
        settings: WorkerSettings,
        encoder: impl FnOnce(&Arc<Log>) -> T,
    ) -> Result<Self, Error> {
        let buffer = Arc::new(IngestBuffer::new(
            settings.buffer_bytes,
            settings.buffer_events,
        ));
        let on_thread = settings.on_thread;
        let log = with_thread_hook(&on_thread, || {
            let on_diagnostic = settings.on_diagnostic;
            Log::open(store, T::PAYLOAD_FORMAT, Arc::clone(&buffer), on_diagnostic)
        });
        let log = Arc::new(log?);
        let appender = StoreAppender::new(&log.store, &on_thread)?;
        let encoder = encoder(&log);
        let observer = encoder.observer();
        if log.is_shared() {
            follower::start(&log, Arc::clone(&observer), &on_thread)?;
        } else {
            warm_up(&log, &observer);
        }
        let worker = Worker {
            drain: Drain::new(&buffer),
            pace: TurnPace::default(),
            log: Arc::clone(&log),
            buffer: Arc::clone(&buffer),
            encoder,
            committer: BatchCommitter::new(&log, appender, observer),
            pending: PendingBatch::default(),
            processing_delay: settings.processing_delay,
            recover_at: None,
            check_at: None,
            unaccounted: ClassCounts::default(),
        };
        spawn_log_thread("livespan", &on_thread, move || worker.run())?;
        Ok(Self { buffer, log })
    }

    /// Pushes a record into the buffer. Waits while the buffer is full; fails if the log is closed.
    pub(crate) async fn push(
        &self,
        class: RecordClass,
        write: impl Fn(&mut WriteBuf<'_>) -> Option<()>,
    ) -> Result<(), Error> {
        loop {
            let room = self.buffer.room_freed();
            match self.buffer.try_push(class, &write) {
                Ok(()) => return Ok(()),
                Err(PushError::Closed) => return Err(self.buffer.closed_error()),
                // In a forked process, no worker makes room.
                Err(PushError::Full) if self.buffer.is_forked() => {
                    return Err(self.buffer.closed_error());
                }
                Err(PushError::Full) => room.await,
            }
        }
    }

    /// Closes the buffer and waits at most `timeout`. Meanwhile the worker stores the buffered records and ends every
    /// stream.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.buffer.close();
        self.buffer.wait_finished(timeout)
    }

    /// Like [`shutdown`](Self::shutdown), but gives up on a store that fails for [`FAILING_STORE_TIMEOUT`].
    pub(crate) fn shutdown_unless_failing(&self, timeout: Duration) -> Result<(), Error> {
        self.buffer.close();
        self.buffer
            .wait_finished_unless(timeout, self.fails_too_long())
    }

    /// Waits until everything pushed before the call is visible, but gives up on a store that fails for
    /// [`FAILING_STORE_TIMEOUT`].
    pub(crate) fn flush_unless_failing(&self, timeout: Duration) -> Result<(), Error> {
        self.buffer.flush_unless(timeout, self.fails_too_long())
    }

    /// Returns a function that returns whether the store has been failing for [`FAILING_STORE_TIMEOUT`] without a
    /// break.
    fn fails_too_long(&self) -> impl FnMut() -> bool {
        let mut failing_since = None;
        move || {
            if !self.log.is_degraded() {
                failing_since = None;
                return false;
            }
            let since: Instant = *failing_since.get_or_insert_with(Instant::now);
            since.elapsed() >= FAILING_STORE_TIMEOUT
        }
    }
}

impl Drop for LogRuntime {
    fn drop(&mut self) {
        self.buffer.close();
    }
}

struct Worker<T> {
    buffer: Arc<IngestBuffer>,
    log: Arc<Log>,
    drain: Drain,
    pace: TurnPace,
    encoder: T,
    committer: BatchCommitter,
    pending: PendingBatch,
    processing_delay: Arc<ProcessingDelay>,
    /// When to ask the store next for events that dead writers left open.
    recover_at: Option<Instant>,
    /// When to ask the store next to check its events.
    check_at: Option<Instant>,
    /// Records of the current turn that are not stored or counted yet. They are lost if this thread panics.
    unaccounted: ClassCounts,
}

impl<T: RecordEncoder> Worker<T> {
    /// Runs until the log is shut down. After a panic on this thread the state cannot be trusted, so the log ends and
    /// reports the panic.
    fn run(mut self) {
        self.buffer.attach_worker();
        let ended = catch_panic(|| self.work()).unwrap_or(Err(PANICKED));
        if let Err(why) = ended {
            self.abort(why);
        }
        let is_hanging = self.committer.has_timed_out();
        catch_panic(|| self.committer.count_timed_out());
        if !is_hanging {
            catch_panic(|| self.log.store.close());
        }
        catch_panic(|| self.log.close());
        self.buffer.report_finished();
        self.wake_until_readers_gone();
    }

    /// Wakes readers that wait for a store that does not answer. Holds nothing of the log meanwhile. Reports readers
    /// that still exist at the end of the time limit as leaked. A log in memory skips this, because its readers wait
    /// for no store.
    fn wake_until_readers_gone(self) {
        let patience = self.log.append_timeout();
        let is_memory = self.log.is_in_memory();
        let readers = Arc::clone(self.log.readers());
        let diagnostics = Arc::clone(self.log.diagnostics());
        catch_panic(|| drop(self));
        if !is_memory {
            let left = readers.wake_until_gone(patience, wake_time(patience));
            if left > 0 {
                diagnostics.report(Diagnostic::ReadersLeft(left));
            }
        }
    }

    fn abort(&mut self, why: &'static str) {
        catch_panic(|| self.log.report_diagnostic(Diagnostic::Ended(why)));
        let ClassCounts {
            starts,
            ends,
            other,
        } = self.unaccounted;
        self.buffer.count_dropped(RecordClass::Start, starts);
        self.buffer.count_dropped(RecordClass::End, ends);
        self.buffer.count_dropped(RecordClass::Other, other);
        self.buffer.abort(why);
    }

    /// Drains, stores and publishes until the log is shut down. Returns an error if the log cannot continue.
    fn work(&mut self) -> Result<(), &'static str> {
        self.recover_open_events();
        self.check_at = self.next_check();
        loop {
            if self.recover_at.is_some_and(|at| at <= Instant::now()) {
                self.recover_open_events();
            }
            if self.check_at.is_some_and(|at| at <= Instant::now()) {
                self.check_at = self.next_check();
                self.committer.check_store();
            }
            // Called before the counter is read, so the starts of the changed spans are below the cut.
            catch_panic(|| self.encoder.before_drain());
            // Read before the counter. If the log is closed after this, the loop runs once more and drains the records
            // that were pushed in between.
            let closed = self.buffer.is_closed();
            let cut = self.cut();
            let began = Instant::now();
            let taken = self.turn(cut)?;
            if closed && cut == self.buffer.next_number() {
                break;
            }
            let (record, time) = if self.pace.lets_gather(began, taken) {
                (cut + BATCH_RECORDS - 1, GATHER_TIME)
            } else if self.encoder.has_changes() {
                // Changes of open spans came after `before_drain`. Perhaps no record follows that would wake the
                // worker, so the wait is short.
                (cut, GATHER_TIME)
            } else {
                (cut, self.idle_time())
            };
            self.buffer
                .park_and_give_way(record, time, thread::yield_now);
        }
        self.committer.begin_turn(&mut self.encoder);
        self.committer.finish_turn(&mut self.encoder);
        Ok(())
    }

    /// Waits for the processing delay, unless the buffer is urgent. Returns the record number at which this turn stops.
    fn cut(&self) -> u64 {
        let cut = self.buffer.next_number();
        let mut waited = Duration::ZERO;
        while !self.buffer.is_urgent() {
            let delay = self.processing_delay.get();
            let left = delay.saturating_sub(waited);
            if left.is_zero() {
                return cut;
            }
            // Parks in steps. If a debugger or throttling stops the whole process, that time then counts as one step
            // at most.
            let step = left.min(delay / DELAY_STEPS);
            let begun = Instant::now();
            self.buffer.park(step);
            waited += begun.elapsed().min(step);
        }
        self.buffer.next_number()
    }

    /// Stores and publishes everything below `cut`. Returns the number of records.
    fn turn(&mut self, cut: u64) -> Result<usize, &'static str> {
        let mut drain = std::mem::replace(&mut self.drain, Drain::empty());
        let mut works = self.committer.begin_turn(&mut self.encoder);
        drain.take_records(&self.buffer, cut);
        self.unaccounted = drain.counts();
        let mut translated = ClassCounts::default();
        let mut taken = 0;
        // Includes records above the cut, because they may affect a record below it.
        for record in drain.internal_records() {
            catch_panic(|| self.encoder.on_hint(record));
        }
        for (class, record) in drain.records_below_cut() {
            taken += 1;
            if self.encoder.needs_commit_before(record) {
                works &= self.commit(&mut translated)?;
            }
            self.encode_record(class, record);
            translated.add(class, 1);
            while self.encoder.has_more() {
                works &= self.commit(&mut translated)?;
                self.encode_with(class, T::encode_more);
            }
            if self.pending.batch.size() >= BATCH_BYTES_MAX {
                works &= self.commit(&mut translated)?;
            }
        }
        works &= self.commit(&mut translated)?;
        self.encode_with(RecordClass::Other, T::after_drain);
        if !self.pending.batch.is_empty() {
            works &= self.commit(&mut translated)?;
        }
        works &= self.committer.finish_turn(&mut self.encoder);
        self.drain = drain;
        // `has_failed` and `is_failing` can differ, because a late append may be settled within a turn. The worker may
        // sleep long after this turn, so a flush must learn the state at its end.
        let result = TurnResult {
            has_failed: !works,
            is_failing: self.committer.is_failing(),
        };
        self.buffer.report_drained(cut, result);
        Ok(taken)
    }

    /// Commits the encoded events. Returns whether the store kept them; refused events are counted as dropped. Returns
    /// an error if the log has too few sequences left.
    fn commit(&mut self, translated: &mut ClassCounts) -> Result<bool, &'static str> {
        let mut works = true;
        loop {
            if !self.log.has_numbers_for(self.pending.batch.len()) {
                return Err(NUMBERS_USED_UP);
            }
            works &= self.store();
            self.unaccounted = self.unaccounted.without(std::mem::take(translated));
            self.encode_with(RecordClass::Internal, T::on_committed);
            if self.pending.batch.is_empty() {
                return Ok(works);
            }
        }
    }

    /// Adds the events that `append` appends: all of them, or none if it panics.
    fn encode_with(&mut self, class: RecordClass, append: impl FnOnce(&mut T, &mut Batch)) {
        let batch = &mut self.pending.batch;
        let before = batch.len();
        let translated = catch_panic(|| append(&mut self.encoder, batch));
        if translated.is_none() {
            batch.truncate(before);
        }
        let events = (batch.len() - before) as u64;
        self.pending.count(class, events);
    }

    fn next_check(&self) -> Option<Instant> {
        let interval = catch_panic(|| self.log.store.check_interval()).flatten()?;
        Instant::now().checked_add(interval)
    }

    /// Closes the events that dead writers left open. Reopens the events of this process that another process closed
    /// because it took this one for dead.
    fn recover_open_events(&mut self) {
        let tended = catch_panic(|| match self.log.store.open_event_recovery() {
            Some(recovery) => recovery.recover_open_events(),
            None => Ok(RecoveredEvents::default()),
        });
        let again = self.log.is_shared() || !matches!(tended, Some(Ok(_)));
        self.recover_at = again.then(|| Instant::now() + RETRY);
        let Some(Ok(RecoveredEvents {
            abandoned,
            reopened,
        })) = tended
        else {
            return;
        };
        self.committer.begin_turn(&mut self.encoder);
        for event in &reopened {
            let batch = &mut self.pending.batch;
            self.encoder.on_pre_encoded(batch.len(), &event.payload);
            batch.push(&event.name, event.key, event.pin, |out| {
                out.extend_from_slice(&event.payload);
            });
            self.pending.count(RecordClass::Start, 1);
        }
        for AbandonedEvent { event, last_heard } in &abandoned {
            self.encode_with(RecordClass::End, |encoder, batch| {
                encoder.close_abandoned(event, *last_heard, batch);
            });
            if self.pending.batch.size() >= BATCH_BYTES_MAX {
                self.store();
            }
        }
        self.store();
    }

    fn store(&mut self) -> bool {
        self.committer.store(&mut self.pending, &mut self.encoder)
    }

    fn encode_record(&mut self, class: RecordClass, record: &[u8]) {
        let PendingBatch { batch, acks, .. } = &mut self.pending;
        let before = batch.len();
        let translated = catch_panic(|| match envelope::unpack(record) {
            Some((envelope, payload)) => {
                let payload = self.encoder.read_pre_encoded(before, payload);
                batch.push(envelope.name, envelope.key, envelope.pin, |out| {
                    out.extend_from_slice(&payload);
                });
                if envelope.once {
                    batch.mark_deduplicated();
                }
                if envelope.ack > 0 {
                    acks.push((before, envelope.ack));
                }
            }
            None => self.encoder.encode(record, batch),
        });
        if translated.is_some() {
            let events = (batch.len() - before) as u64;
            self.pending.count(class, events);
            return;
        }
        batch.truncate(before);
        self.committer.count_dropped(class, 1);
        while let Some((_, ack)) = acks.pop_if(|(position, _)| *position >= before) {
            self.buffer.resolve_ack(ack, None);
        }
    }

    fn idle_time(&mut self) -> Duration {
        let expiry = self.log.tail.expire(Instant::now());
        self.log.forget_evicted(|evicted| {
            catch_panic(|| self.encoder.on_evicted(evicted));
        });
        if self.encoder.awaits_store() {
            return STORE_ANSWER;
        }
        if self.committer.has_work_left() || self.recover_at.is_some() {
            return RETRY;
        }
        let next = expiry
            .into_iter()
            .chain(self.check_at)
            .chain(self.encoder.next_due())
            .min();
        let left = next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        left.clamp(GATHER_TIME, IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{block::Slice, event::Pinning, tail::TailRead};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes two events of each record. If the record is `panic`, panics after the first event.
    struct PanicsOnRequest;

    impl RecordEncoder for PanicsOnRequest {
        fn encode(&mut self, record: &[u8], batch: &mut Batch) {
            batch.push("one", None, Pinning::None, |out| {
                out.extend_from_slice(record);
            });
            batch.push("two", None, Pinning::None, |out| {
                out.extend_from_slice(record);
                assert_ne!(record, b"panic", "the encoder of a test panics");
            });
        }
    }

    #[test]
    fn a_panicking_encoder_loses_exactly_one_record() {
        let runtime = LogRuntime::start(StoreKind::default(), WorkerSettings::default(), |_| {
            PanicsOnRequest
        })
        .unwrap();
        for (class, record) in [
            (RecordClass::Start, "first"),
            (RecordClass::End, "panic"),
            (RecordClass::Start, "last"),
        ] {
            runtime
                .buffer
                .push(class, |buf| buf.put_slice(record.as_bytes()))
                .unwrap();
        }
        runtime.buffer.flush(PATIENCE).unwrap();
        runtime.shutdown(PATIENCE).unwrap();
        let mut events = Vec::new();
        while let TailRead::Events(slices) = runtime.log.tail.read_after(events.len() as u64) {
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
        // The records may fall into two turns. The gap comes at the end of the turn that has the panic.
        if events[2].0 == "gap" {
            let gap = sorted.remove(4);
            sorted.insert(2, gap);
        }
        assert_eq!(events, sorted);
    }
}
