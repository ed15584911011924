//! Hands batches to the store, on a thread beside the log's own where the store may hang: then readers get what the
//! store has not kept yet, and the log learns later what became of it.

use std::{any::Any, sync::Arc, time::Duration};

use crate::{
    error::Error,
    log::batch::Batch,
    store::{Appended, DEFAULT_PATIENCE, EventStore},
    util::sync::{
        guard,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
        thread,
    },
    wire::id::Sequence,
};

/// What runs on each of the log's threads before anything else; what it returns lives as long as the thread.
pub(crate) type OnThread = Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>;

/// Starts a thread of the log. Its handle is not kept: what waits for such a thread must be able to give up when the
/// store hangs.
pub(crate) fn spawn(
    name: &str,
    on_thread: &OnThread,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let on_thread = Arc::clone(on_thread);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = on_thread();
            run();
        })
        .map(drop)
        .map_err(|error| Error::io(format!("start the {name} thread"), error))
}

/// What became of an append.
#[derive(Debug)]
pub(crate) enum AppendOutcome {
    /// The store keeps the batch, from this number on, but for what it has already.
    Stored(Appended),
    Failed(Error),
    /// The store takes longer than it may. [`StoreAppender::settle`] knows the rest.
    TimedOut,
}

/// The only one who appends to the store.
#[derive(Debug)]
pub(crate) struct StoreAppender {
    store: Arc<dyn EventStore>,
    aside: Option<StoreThread>,
}

/// The thread beside the log's own.
#[derive(Debug)]
struct StoreThread {
    requests: SyncSender<(Sequence, Arc<Batch>)>,
    answers: Receiver<Result<Appended, Error>>,
    is_late: bool,
}

impl StoreAppender {
    pub(crate) fn new(store: &Arc<dyn EventStore>, on_thread: &OnThread) -> Result<Self, Error> {
        let aside = store
            .patience()
            .map(|_| StoreThread::start(Arc::clone(store), on_thread))
            .transpose()?;
        Ok(Self {
            store: Arc::clone(store),
            aside,
        })
    }

    /// Appends the batch. It must not be called while an earlier append [is late](Self::is_late).
    pub(crate) fn append(&mut self, first: u64, batch: &Arc<Batch>) -> AppendOutcome {
        let first = Sequence::new(first);
        match &mut self.aside {
            None => match append(&*self.store, first, batch) {
                Ok(appended) => AppendOutcome::Stored(appended),
                Err(error) => AppendOutcome::Failed(error),
            },
            Some(aside) => {
                let patience = self.store.patience().unwrap_or(DEFAULT_PATIENCE);
                aside.append(first, batch, patience)
            }
        }
    }

    pub(crate) fn is_late(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.is_late)
    }

    /// What became of the append that took too long, once that is known.
    pub(crate) fn settle(&mut self) -> Option<Result<(), Error>> {
        let aside = self.aside.as_mut().filter(|aside| aside.is_late)?;
        let answer = match aside.answers.try_recv() {
            Ok(answer) => answer.map(drop),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(gone()),
        };
        aside.is_late = false;
        Some(answer)
    }
}

impl StoreThread {
    fn start(store: Arc<dyn EventStore>, on_thread: &OnThread) -> Result<Self, Error> {
        // One batch is on its way at a time, and one answer: neither end ever waits to send.
        let (requests, todo) = sync_channel::<(Sequence, Arc<Batch>)>(1);
        let (done, answers) = sync_channel(1);
        spawn("livespan-store", on_thread, move || {
            for (first, batch) in todo {
                let answer = append(&*store, first, &batch);
                drop(batch);
                if done.send(answer).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            requests,
            answers,
            is_late: false,
        })
    }

    fn append(&mut self, first: Sequence, batch: &Arc<Batch>, patience: Duration) -> AppendOutcome {
        if self.requests.try_send((first, Arc::clone(batch))).is_err() {
            return AppendOutcome::Failed(gone());
        }
        match self.answers.recv_timeout(patience) {
            Ok(Ok(appended)) => AppendOutcome::Stored(appended),
            Ok(Err(error)) => AppendOutcome::Failed(error),
            Err(RecvTimeoutError::Timeout) => {
                self.is_late = true;
                AppendOutcome::TimedOut
            }
            Err(RecvTimeoutError::Disconnected) => AppendOutcome::Failed(gone()),
        }
    }
}

/// A store is foreign code: what panics in it ends there.
fn append(store: &dyn EventStore, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
    guard(|| store.append(first, batch))
        .unwrap_or_else(|| Err(Error::store_failed("the event store panicked")))
}

fn gone() -> Error {
    Error::store_failed("the thread of the event store is gone")
}
