//! The threads `livespan-read`, which run queries for readers.
//!
//! A reader gets a future and never waits for the disk itself. Each thread has its own connection, so a read waits
//! neither for the writer nor for the read of another thread.

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, TryLockError,
        mpsc::{Receiver, Sender, channel},
    },
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    log::event::StreamKey,
    store::{
        EpochStart,
        sqlite::{
            file::{
                descriptor::{DataFile, FileId},
                errors::{describe, refused},
            },
            queries::StreamKeyCache,
            schema::{connect_reader, number},
            state::load_epochs,
        },
        threads::spawn_store_thread,
    },
    util::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        catch_panic, lock,
        thread::{self, JoinHandle},
    },
    wire::id::Sequence,
};

/// Number of threads. With two, one long read does not make every reader wait.
const READ_THREADS: usize = 2;

/// The state of the log that is available without a query.
#[derive(Debug, Default)]
pub(crate) struct LogBounds {
    oldest: AtomicU64,
    /// The newest sequence of the log, as of the last read. Used if another process writes the file.
    head: AtomicU64,
    epochs: Mutex<Arc<[EpochStart]>>,
    /// The streams that are kept on request.
    kept: Mutex<Vec<StreamKey>>,
}

impl LogBounds {
    pub(crate) fn oldest(&self) -> Sequence {
        Sequence::new(self.oldest.load(Ordering::Acquire))
    }

    pub(crate) fn head(&self) -> Sequence {
        Sequence::new(self.head.load(Ordering::Acquire))
    }

    pub(crate) fn epochs(&self) -> Arc<[EpochStart]> {
        Arc::clone(&lock(&self.epochs))
    }

    pub(crate) fn set_oldest(&self, oldest: u64) {
        // Several threads report their reads. The highest value is the newest.
        self.oldest.fetch_max(oldest, Ordering::AcqRel);
    }

    pub(crate) fn kept(&self) -> Vec<StreamKey> {
        lock(&self.kept).clone()
    }

    pub(crate) fn kept_count(&self) -> usize {
        lock(&self.kept).len()
    }

    pub(crate) fn set_kept(&self, kept: Vec<StreamKey>) {
        *lock(&self.kept) = kept;
    }

    fn set_bounds(&self, bounds: (u64, u64)) {
        self.set_oldest(bounds.0);
        self.head.fetch_max(bounds.1, Ordering::AcqRel);
    }

    pub(crate) fn set_epochs(&self, epochs: impl Iterator<Item = EpochStart>) {
        let new: Arc<[EpochStart]> = epochs.collect();
        let mut epochs = lock(&self.epochs);
        let newest = |epochs: &[EpochStart]| epochs.last().map(|life| life.first);
        if newest(&new) >= newest(&epochs) {
            *epochs = new;
        }
    }
}

/// A connection for reads, with its cache of stream keys.
#[derive(Debug)]
pub(crate) struct ReadConnection {
    pub(crate) connection: Connection,
    pub(crate) keys: StreamKeyCache,
    bounds: Arc<LogBounds>,
    /// The `data_version` at which `bounds` was last read. Used if another process writes the file.
    version: Option<i64>,
    /// Must be dropped after the connection.
    _data: DataFile,
}

impl ReadConnection {
    /// Opens a connection on a file that this process writes to.
    pub(crate) fn beside_writer(
        path: &Path,
        data: &DataFile,
        bounds: &Arc<LogBounds>,
    ) -> Result<Self, Error> {
        if FileId::at(path).is_ok_and(|now| now != data.id()) {
            // Otherwise readers would get the other file's events as events of this log.
            return Err(refused(path, "another file has taken its place"));
        }
        Ok(Self {
            connection: connect_reader(path)?,
            keys: StreamKeyCache::default(),
            bounds: Arc::clone(bounds),
            version: None,
            _data: data.clone(),
        })
    }

    /// Opens a connection on a file that another process writes to.
    pub(crate) fn following(
        path: &Path,
        data: &DataFile,
        bounds: &Arc<LogBounds>,
    ) -> Result<Self, Error> {
        let mut reader = Self::beside_writer(path, data, bounds)?;
        reader.version = Some(-1);
        reader.refresh().map_err(|error| describe(path, error))?;
        Ok(reader)
    }

    /// Runs `read`, then updates `bounds` from the file. So every event that retention deleted before the read is below
    /// `oldest` when the answer arrives, even if the writer has committed but not updated `bounds` yet.
    pub(crate) fn run<R>(
        &mut self,
        read: impl FnOnce(&mut Self) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        self.refresh()?;
        let answer = read(self)?;
        self.bounds.set_bounds(bounds(&self.connection)?);
        Ok(answer)
    }

    /// Updates `bounds` if another process has committed since the last call.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        if self.version.is_none() {
            return Ok(());
        }
        let version = self.version_now()?;
        if self.version == Some(version) {
            return Ok(());
        }
        let snapshot = self.connection.transaction()?;
        let bounds = bounds(&snapshot)?;
        let epochs = load_epochs(&snapshot)?;
        drop(snapshot);
        self.bounds.set_bounds(bounds);
        self.bounds
            .set_epochs(epochs.iter().map(|record| record.start));
        self.version = Some(version);
        Ok(())
    }

    /// Returns a number that changes whenever another connection commits. SQLite reads it from shared memory.
    pub(crate) fn version_now(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }
}

/// The result of a query that a thread of the pool runs.
pub(crate) type PoolFuture<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

/// Returns the oldest sequence from which on every event can be read, and the newest sequence.
fn bounds(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection
        .prepare_cached("SELECT oldest, head FROM state")?
        .query_row([], |row| {
            Ok((row.get(0).map(number)?, row.get(1).map(number)?))
        })
}

/// Opens the connection of a thread.
type Connect = Arc<dyn Fn() -> Result<ReadConnection, Error> + Send + Sync>;

/// The connection of one thread. `None` while the connection is closed.
type Slot = Mutex<Option<ReadConnection>>;

type Request = Box<dyn FnOnce(&mut Option<ReadConnection>, &Connect) + Send>;

pub(crate) struct ReadPool {
    path: PathBuf,
    slots: Vec<Arc<Slot>>,
    requests: Option<Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPool")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ReadPool {
    /// Starts the threads. `connect` opens the connection of each.
    pub(crate) fn start(
        path: &Path,
        connect: impl Fn() -> Result<ReadConnection, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let connect: Connect = Arc::new(connect);
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut read_pool = Self {
            path: path.to_owned(),
            slots: Vec::with_capacity(READ_THREADS),
            requests: Some(sender),
            threads: Vec::with_capacity(READ_THREADS),
        };
        for _ in 0..READ_THREADS {
            let slot = Arc::new(Slot::new(Some(connect()?)));
            read_pool.slots.push(Arc::clone(&slot));
            let (receiver, connect) = (Arc::clone(&receiver), Arc::clone(&connect));
            let serve = move || serve(&slot, &connect, &receiver);
            let thread = spawn_store_thread("livespan-read", serve)?;
            read_pool.threads.push(thread);
        }
        Ok(read_pool)
    }

    /// Runs `read` on one of the threads. If its future is dropped before its turn, it is skipped.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut ReadConnection) -> rusqlite::Result<R> + Send + 'static,
    ) -> PoolFuture<R> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let request: Request = Box::new(move |slot, connect| {
            if !reply.is_closed() {
                // A panic becomes an error of this caller only; the thread continues.
                let result = catch_panic(|| run(slot, connect, &path, read));
                let panicked = || Err(failed_without_cause(&path, "the query panicked"));
                // The caller may have dropped its future during the read.
                drop(reply.send(result.unwrap_or_else(panicked)));
            }
        });
        if let Some(requests) = &self.requests {
            // If the threads are gone, the request is dropped, and its future returns an error.
            drop(requests.send(request));
        }
        Box::pin(async move { answer.await.map_err(|_gone| Error::closed())? })
    }

    /// Closes the connections that are not in use. The next read opens a new one.
    pub(crate) fn close_idle_connections(&self) {
        for slot in &self.slots {
            match slot.try_lock() {
                Ok(mut slot) => *slot = None,
                Err(TryLockError::Poisoned(slot)) => *slot.into_inner() = None,
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        self.requests = None;
        for thread in self.threads.drain(..) {
            // An answer may wake a waker that drops the store, so this may run on one of these threads. A thread cannot
            // join itself.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

fn serve(slot: &Slot, connect: &Connect, requests: &Mutex<Receiver<Request>>) {
    loop {
        let request = lock(requests).recv();
        let Ok(request) = request else {
            return;
        };
        let mut slot = lock(slot);
        // An answer wakes its caller, and wakers are foreign code.
        catch_panic(|| request(&mut slot, connect));
    }
}

fn run<R>(
    slot: &mut Option<ReadConnection>,
    connect: &Connect,
    path: &Path,
    read: impl FnOnce(&mut ReadConnection) -> rusqlite::Result<R>,
) -> Result<R, Error> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(connect()?),
    };
    connection
        .run(read)
        .map_err(|error| failed("read", path, error))
}

fn failed_without_cause(path: &Path, reason: &str) -> Error {
    Error::store_failed(format!("read the event log {}: {reason}", path.display()))
}

/// Returns the error of a call after the file was opened. Its message names the file.
pub(crate) fn failed(action: &str, path: &Path, error: rusqlite::Error) -> Error {
    Error::store(format!("{action} the event log {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::block_on::block_on;

    /// Returns a connection to a database in memory. Its `_data` is an unrelated existing file.
    fn connection() -> ReadConnection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE state(oldest, head); INSERT INTO state VALUES(1, 0)")
            .unwrap();
        ReadConnection {
            connection,
            keys: StreamKeyCache::default(),
            bounds: Arc::default(),
            version: None,
            _data: DataFile::open(&std::env::current_exe().unwrap()).unwrap(),
        }
    }

    #[test]
    fn a_query_that_panics_is_an_error_for_its_caller_and_ends_no_thread() {
        let path = Path::new("events.db");
        let pool = ReadPool::start(path, || Ok(connection())).unwrap();
        for _ in 0..=READ_THREADS {
            let asked = pool.ask(|_| -> rusqlite::Result<u64> { panic!("a test panics") });
            let error = block_on(asked).unwrap_err();
            assert_eq!(
                error.with_causes(),
                "read the event log events.db: the query panicked"
            );
        }
        assert_eq!(block_on(pool.ask(|_| Ok(7))).unwrap(), 7);
    }
}
