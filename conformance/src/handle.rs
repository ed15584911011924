//! One open store, called as the log calls it. The handle records every step and checks every answer for the rules that
//! always hold. It must never wait longer than its time-out. Reads run on the calling thread, without an async runtime.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use livespan::{
    Error, EventStore,
    store::{
        Appended, EpochStart, EvictedEvents, KeepError, KeptStreams, PageLimit, Sequence,
        SharedLog, StoredEvent, StoredStream, StreamKey,
    },
};

use crate::{
    model::{Model, Read, Scope, Writer},
    report::{self, Outcome, StepLog, Violation, holds},
    test_event::{TestEvent, batch},
};

/// The pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The limit of a page without bounds: the page ends only at the last event.
pub(crate) const ANY: PageLimit = PageLimit::UNBOUNDED;

pub(crate) struct Handle {
    pub(crate) store: Arc<dyn EventStore>,
    step_log: StepLog,
    /// The prefix that names the handle in the recorded steps; empty if the handle has no name.
    label: String,
    writer: Writer,
    next: u64,
    /// Upper bound on every wait.
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn open(
        store: Arc<dyn EventStore>,
        step_log: &StepLog,
        label: String,
        timeout: Duration,
    ) -> Outcome<Self> {
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        let head = store
            .open()
            .map_err(|error| Violation::error("open()", &error))?;
        let handle = Self {
            store,
            step_log: step_log.clone(),
            label,
            writer: Writer(WRITERS.fetch_add(1, Ordering::Relaxed)),
            next: head.get() + 1,
            timeout,
        };
        handle.note(format!("open, head {head}, epochs {:?}", handle.epochs()));
        holds(
            !handle.epochs().is_empty(),
            "there is at least one epoch once the store is open",
            "an epoch",
            "none",
        )?;
        Ok(handle)
    }

    /// Returns another handle to the same open store, for another thread.
    pub(crate) fn share(&self, label: &str) -> Self {
        Self {
            store: Arc::clone(&self.store),
            step_log: self.step_log.clone(),
            label: format!("{label}: "),
            writer: self.writer,
            next: self.next,
            timeout: self.timeout,
        }
    }

    /// Keeps a stream on request. Returns the reason if the store refuses.
    pub(crate) fn keep(&self, key: StreamKey) -> Outcome<Option<KeepError>> {
        let outcome = self.kept_streams()?.keep(&key);
        self.note(format!("keep {key}: {outcome:?}"));
        Ok(outcome.err())
    }

    /// Stops keeping a stream. Returns whether it was kept.
    pub(crate) fn stop_keeping(&self, key: StreamKey) -> Outcome<bool> {
        self.note(format!("stop keeping {key}"));
        let stopped = self.kept_streams()?.stop_keeping(&key);
        stopped.map_err(|error| Violation::error("stop_keeping()", &error))
    }

    /// Returns the streams that are kept on request, in order.
    pub(crate) fn kept(&self) -> Outcome<Vec<StreamKey>> {
        let mut kept = self.kept_streams()?.kept();
        kept.sort_unstable();
        Ok(kept)
    }

    fn kept_streams(&self) -> Outcome<&dyn KeptStreams> {
        let kept = self.store.kept_streams();
        kept.ok_or_else(|| {
            Violation::new(
                "kept_streams() always returns the same value",
                "a value",
                "none",
            )
        })
    }

    pub(crate) fn note(&self, step: impl fmt::Display) {
        self.step_log.note(format!("{}{step}", self.label));
    }

    pub(crate) fn writer(&self) -> Writer {
        self.writer
    }

    /// Returns the newest sequence that this handle knows of.
    pub(crate) fn head(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn epochs(&self) -> Arc<[EpochStart]> {
        self.store.epochs()
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.store.oldest().get()
    }

    /// Skips this many sequences, as a log does when its store has failed.
    pub(crate) fn leave_out(&mut self, count: u64) {
        self.note(format!("leave out {count} numbers"));
        self.next += count;
    }

    /// Appends one batch, which must succeed. Returns the sequence of its first event.
    pub(crate) fn append(&mut self, test_events: &[TestEvent]) -> Outcome<u64> {
        self.try_append(test_events)?
            .map_err(|error| Violation::error("append()", &error))
    }

    /// Appends one batch, which may fail. Returns the sequence of its first event, or the store's error.
    pub(crate) fn try_append(&mut self, test_events: &[TestEvent]) -> Outcome<Result<u64, Error>> {
        let appended = self.append_to_store(test_events)?;
        Ok(appended.map(|appended| appended.first.get()))
    }

    fn append_to_store(&mut self, test_events: &[TestEvent]) -> Outcome<Result<Appended, Error>> {
        let result = self
            .store
            .append(Sequence::new(self.next), &batch(test_events));
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                self.note(format!("append {}: {error}", show(test_events)));
                return Ok(Err(error));
            }
        };
        let given = appended.first.get();
        let duplicates = &appended.duplicates;
        self.note(format!(
            "append {} from {given}, left out: {duplicates:?}",
            show(test_events)
        ));
        let once: Vec<usize> = (0..test_events.len())
            .filter(|place| {
                test_events
                    .get(*place)
                    .is_some_and(|test_event| test_event.deduplicated)
            })
            .collect();
        holds(
            duplicates.is_sorted() && duplicates.iter().all(|place| once.contains(place)),
            "append() leaves out only deduplicated events",
            format!("some of the indexes {once:?}, ascending"),
            format!("{duplicates:?}"),
        )?;
        if self.store.shared_log().is_none() {
            holds(
                given == self.next,
                "append() stores the batch under the numbers that the log passed",
                self.next.to_string(),
                given.to_string(),
            )?;
        } else {
            holds(
                given >= self.next,
                "append() numbers a batch after every earlier event",
                format!("{} or more", self.next),
                given.to_string(),
            )?;
        }
        self.next = given + (test_events.len() - duplicates.len()) as u64;
        Ok(Ok(appended))
    }

    /// Appends one batch to the store. Adds to the model only the events that the store does not report as duplicates.
    /// Returns the indexes of the duplicates.
    pub(crate) fn put_once(
        &mut self,
        model: &mut Model,
        test_events: &[TestEvent],
    ) -> Outcome<Vec<usize>> {
        let appended = self
            .append_to_store(test_events)?
            .map_err(|error| Violation::error("append()", &error))?;
        let places = test_events.iter().enumerate();
        let kept: Vec<TestEvent> = places
            .filter(|(place, _)| !appended.duplicates.contains(place))
            .map(|(_, test_event)| test_event.clone())
            .collect();
        model.append(self.writer, appended.first.get(), &kept);
        Ok(appended.duplicates)
    }

    /// Appends one batch to the store and to the model. Returns the sequence of its first event.
    pub(crate) fn put(&mut self, model: &mut Model, test_events: &[TestEvent]) -> Outcome<u64> {
        let first = self.append(test_events)?;
        model.append(self.writer, first, test_events);
        Ok(first)
    }

    /// Reads one page, and checks the rules that hold for every page.
    pub(crate) fn page(
        &self,
        scope: &Scope,
        after: u64,
        limit: PageLimit,
    ) -> Outcome<Vec<StoredEvent>> {
        let place = Sequence::new(after);
        let (call, read) = match scope {
            Scope::All => ("read_after()", self.store.read_after(place, limit)),
            Scope::Streams(keys) => (
                "read_streams_after()",
                self.store.read_streams_after(keys, place, limit),
            ),
        };
        let page = self.finish(call, read)?;
        check_page(scope, after, limit, &page)?;
        Ok(page)
    }

    /// Reads everything after a sequence, in pages of this size.
    pub(crate) fn read(
        &self,
        scope: &Scope,
        after: u64,
        limit: PageLimit,
    ) -> Outcome<Vec<StoredEvent>> {
        let mut all: Vec<StoredEvent> = Vec::new();
        loop {
            let after = all.last().map_or(after, |event| event.sequence.get());
            let page = self.page(scope, after, limit)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Reads everything after a sequence, and compares it with the model.
    pub(crate) fn check(
        &self,
        model: &Model,
        scope: &Scope,
        after: u64,
        limit: PageLimit,
    ) -> Outcome {
        let before = self.oldest();
        let came = self.read(scope, after, limit);
        let oldest = (before, self.oldest());
        let read = Read {
            scope,
            after,
            upto: model.head(),
            oldest,
        };
        let outcome = came.and_then(|came| model.check(&read, &came));
        if outcome.is_err() {
            self.note(format!(
                "read {} after {after} in pages of {limit:?}",
                scope.show()
            ));
        }
        outcome
    }

    /// Returns how many events retention has removed from each of these streams.
    pub(crate) fn evicted(&self, keys: &[StreamKey]) -> Outcome<Vec<Option<EvictedEvents>>> {
        let evicted = self.finish("evicted()", self.store.evicted(keys))?;
        holds(
            evicted.len() == keys.len(),
            "evicted() has one answer for each stream",
            keys.len().to_string(),
            evicted.len().to_string(),
        )?;
        Ok(evicted)
    }

    pub(crate) fn streams_before(&self, before: u64, limit: usize) -> Outcome<Vec<StoredStream>> {
        let list = self.store.streams_before(Sequence::new(before), limit);
        self.finish("streams_before()", list)
    }

    pub(crate) fn open_global_events(&self) -> Outcome<Vec<StoredEvent>> {
        let Some(recovery) = self.store.open_event_recovery() else {
            return Ok(Vec::new());
        };
        self.finish(
            "read_open_global_events()",
            recovery.read_open_global_events(),
        )
    }

    /// Returns the events that a writer left open when it went away, oldest first.
    pub(crate) fn recover_open_events(&self) -> Outcome<Vec<StoredEvent>> {
        let Some(recovery) = self.store.open_event_recovery() else {
            return Ok(Vec::new());
        };
        let recovered = recovery
            .recover_open_events()
            .map_err(|error| Violation::error("recover_open_events()", &error))?;
        holds(
            recovered.reopened.is_empty(),
            "recover_open_events() reopens nothing for a writer that never paused",
            "no reopened event",
            report::events(&recovered.reopened, 0),
        )?;
        let mut events: Vec<StoredEvent> = recovered
            .abandoned
            .into_iter()
            .map(|one| one.event)
            .collect();
        events.sort_by_key(|event| event.sequence);
        if !events.is_empty() {
            self.note(format!("recover: {}", report::events(&events, 0)));
        }
        Ok(events)
    }

    /// Returns the newest sequence in the store, from any handle.
    pub(crate) fn head_in_store(&self) -> Outcome<Sequence> {
        self.finish("head()", self.shared_log()?.head())
    }

    pub(crate) fn shared_log(&self) -> Outcome<&dyn SharedLog> {
        self.store.shared_log().ok_or_else(|| {
            Violation::new(
                "shared_log() is the same for every handle, and never changes",
                "Some",
                "None",
            )
        })
    }

    /// Runs a read on this thread, without an async runtime.
    fn finish<T>(&self, call: &str, read: impl Future<Output = Result<T, Error>>) -> Outcome<T> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut read = pin!(read);
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Poll::Ready(result) = read.as_mut().poll(&mut context) {
                return result.map_err(|error| Violation::error(call, &error));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            holds(
                !left.is_zero(),
                format!("{call} completes and wakes its task, without an async runtime"),
                "an answer",
                format!("none in {:?}", self.timeout),
            )?;
            thread::park_timeout(left);
        }
    }

    /// Calls the function until it returns an answer; returns `None` if there is none within the time-out.
    pub(crate) fn until<T>(
        timeout: Duration,
        mut poll: impl FnMut() -> Outcome<Option<T>>,
    ) -> Outcome<Option<T>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = poll()? {
                return Ok(Some(found));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::park_timeout(POLL_INTERVAL);
        }
    }

    /// Closes the store, as a log does at its end while other handles to the store still exist.
    pub(crate) fn close_store(&self) {
        self.note("close()");
        self.store.close();
    }

    /// Drops the store without calling its `close()` first. Fails if anything else still holds the store.
    pub(crate) fn close(self) -> Outcome {
        self.note("close");
        let Self { store, .. } = self;
        holds(
            Arc::strong_count(&store) == 1,
            "nobody else holds the store",
            "1",
            Arc::strong_count(&store).to_string(),
        )
    }
}

/// Upper bound on the events of a batch that a step shows.
const SHOWN_TEST_EVENTS_MAX: usize = 5;

fn show(test_events: &[TestEvent]) -> String {
    let shown: Vec<String> = test_events
        .iter()
        .take(SHOWN_TEST_EVENTS_MAX)
        .map(report::test_event)
        .collect();
    let more = if test_events.len() > shown.len() {
        "; …"
    } else {
        ""
    };
    format!("{} events [{}{more}]", test_events.len(), shown.join("; "))
}

fn check_page(scope: &Scope, after: u64, limit: PageLimit, page: &[StoredEvent]) -> Outcome {
    let asked = format!("a page of {} after {after}, {limit:?}", scope.show());
    let came = || report::events(page, 0);
    let ascending = page.is_sorted_by(|one, other| one.sequence < other.sequence)
        && page
            .first()
            .is_none_or(|first| first.sequence.get() > after);
    holds(
        ascending,
        format!("{asked}: every event once, oldest first, after the sequence"),
        "ascending sequences",
        came(),
    )?;
    holds(
        page.len() <= limit.events.max(1),
        format!("{asked}: no more events than asked for"),
        format!("at most {} events", limit.events.max(1)),
        came(),
    )?;
    let bytes: usize = page.iter().map(|event| event.payload.len()).sum();
    holds(
        bytes <= limit.bytes || page.len() <= 1,
        format!("{asked}: no more payload bytes than asked for, except in a page of one event"),
        format!("at most {} bytes", limit.bytes),
        format!("{bytes} bytes in {}", came()),
    )?;
    holds(
        page.iter().all(|event| scope.wants(event)),
        format!("{asked}: only events of the requested streams"),
        "events of these streams, and events that belong to every stream",
        came(),
    )
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns the scope of these streams.
pub(crate) fn streams(keys: &[StreamKey]) -> Scope {
    Scope::Streams(keys.to_vec())
}
