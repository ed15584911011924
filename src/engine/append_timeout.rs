//! Appends to a store that may hang. If the store has an `append_timeout`, the thread `livespan-store` makes the calls.
//! When that time has passed, the log continues without an answer: readers get the events, and the log learns later
//! whether they were stored. The log of a shared store waits for the answer instead, because only that store can number
//! the events. A store without `append_timeout` limits its calls itself, so the worker thread makes them.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::threads::{OnThread, spawn_log_thread},
    error::Error,
    log::batch::Batch,
    store::{Appended, DEFAULT_APPEND_TIMEOUT, EventStore},
    util::sync::{
        catch_panic,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    wire::id::Sequence,
};

/// The outcome of an append.
#[derive(Debug)]
pub(crate) enum AppendOutcome {
    /// The store kept the batch, except its duplicates. [`Appended`] has the sequence of the first event.
    Stored(Appended),
    Failed(Error),
    /// The store exceeded its time-out. [`StoreAppender::wait_timed_out`] returns the outcome later. Until then the
    /// batch must not be appended again: it may be stored.
    TimedOut,
}

/// Appends batches to the store.
#[derive(Debug)]
pub(crate) struct StoreAppender {
    store: Arc<dyn EventStore>,
    thread: Option<StoreThread>,
}

/// The thread that calls the store, so that the worker thread can stop waiting.
#[derive(Debug)]
struct StoreThread {
    requests: SyncSender<(Sequence, Arc<Batch>)>,
    results: Receiver<Result<Appended, Error>>,
    has_timed_out: bool,
}

impl StoreAppender {
    pub(crate) fn new(store: &Arc<dyn EventStore>, on_thread: &OnThread) -> Result<Self, Error> {
        let thread = store
            .append_timeout()
            .map(|_| StoreThread::start(Arc::clone(store), on_thread))
            .transpose()?;
        Ok(Self {
            store: Arc::clone(store),
            thread,
        })
    }

    /// Appends the batch. Must not be called while an earlier append [has timed out](Self::has_timed_out): its answer
    /// would be mistaken for the answer to this call.
    pub(crate) fn append(&mut self, first: u64, batch: &Arc<Batch>) -> AppendOutcome {
        debug_assert!(
            !self.has_timed_out(),
            "an earlier append is still unanswered"
        );
        let first = Sequence::new(first);
        match &mut self.thread {
            None => match append(&*self.store, first, batch) {
                Ok(appended) => AppendOutcome::Stored(appended),
                Err(error) => AppendOutcome::Failed(error),
            },
            Some(thread) => {
                let timeout = self
                    .store
                    .append_timeout()
                    .unwrap_or(DEFAULT_APPEND_TIMEOUT);
                thread.append(first, batch, timeout)
            }
        }
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| thread.has_timed_out)
    }

    /// Waits at most `time` for the outcome of the late append. With a `time` of zero it only checks. Returns `None` if
    /// no append is late, or the store has still not answered.
    pub(crate) fn wait_timed_out(&mut self, time: Duration) -> Option<Result<Appended, Error>> {
        let thread = self.thread.as_mut().filter(|thread| thread.has_timed_out)?;
        let result = match thread.results.recv_timeout(time) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => Err(thread_gone()),
        };
        thread.has_timed_out = false;
        Some(result)
    }
}

impl StoreThread {
    fn start(store: Arc<dyn EventStore>, on_thread: &OnThread) -> Result<Self, Error> {
        // At most one batch and one answer are in flight, so no send ever blocks.
        let (requests, todo) = sync_channel::<(Sequence, Arc<Batch>)>(1);
        let (done, results) = sync_channel(1);
        spawn_log_thread("livespan-store", on_thread, move || {
            for (first, batch) in todo {
                let result = append(&*store, first, &batch);
                drop(batch);
                if done.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            requests,
            results,
            has_timed_out: false,
        })
    }

    fn append(&mut self, first: Sequence, batch: &Arc<Batch>, timeout: Duration) -> AppendOutcome {
        if self.requests.try_send((first, Arc::clone(batch))).is_err() {
            return AppendOutcome::Failed(thread_gone());
        }
        match self.results.recv_timeout(timeout) {
            Ok(Ok(appended)) => AppendOutcome::Stored(appended),
            Ok(Err(error)) => AppendOutcome::Failed(error),
            Err(RecvTimeoutError::Timeout) => {
                self.has_timed_out = true;
                AppendOutcome::TimedOut
            }
            Err(RecvTimeoutError::Disconnected) => AppendOutcome::Failed(thread_gone()),
        }
    }
}

/// A store is foreign code: a panic in it is caught here.
fn append(store: &dyn EventStore, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
    catch_panic(|| store.append(first, batch))
        .unwrap_or_else(|| Err(Error::store_failed("the event store panicked")))
}

fn thread_gone() -> Error {
    Error::store_failed("the thread that appends to the event store is gone")
}
