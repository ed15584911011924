//! The threads that read the file for whoever asks: the asker gets a future and never waits for the disk itself. Each
//! has a connection of its own, so reads meet neither the writer nor each other.

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    store::{
        Life,
        sqlite::{
            convert::number,
            queries::KeyNames,
            schema::{connect_reader, describe},
            state::load_lives,
        },
    },
    util::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        lock,
        thread::{self, JoinHandle},
    },
    wire::id::Sequence,
};

/// Enough that one long page does not keep every reader waiting.
const THREADS: usize = 2;

/// What can be told about the log without asking the file.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    oldest: AtomicU64,
    /// The newest event that was heard of, where another process writes.
    head: AtomicU64,
    lives: Mutex<Arc<[Life]>>,
}

impl Shared {
    pub(crate) fn oldest(&self) -> Sequence {
        Sequence::new(self.oldest.load(Ordering::Acquire))
    }

    pub(crate) fn head(&self) -> Sequence {
        Sequence::new(self.head.load(Ordering::Acquire))
    }

    pub(crate) fn lives(&self) -> Arc<[Life]> {
        Arc::clone(&lock(&self.lives))
    }

    pub(crate) fn set_oldest(&self, oldest: u64) {
        // Several threads tell what they saw: the newest is the highest.
        self.oldest.fetch_max(oldest, Ordering::AcqRel);
    }

    fn set_bounds(&self, bounds: (u64, u64)) {
        self.set_oldest(bounds.0);
        self.head.fetch_max(bounds.1, Ordering::AcqRel);
    }

    pub(crate) fn set_lives(&self, lives: impl Iterator<Item = Life>) {
        let new: Arc<[Life]> = lives.collect();
        let mut lives = lock(&self.lives);
        let newest = |lives: &[Life]| lives.last().map(|life| life.first);
        if newest(&new) >= newest(&lives) {
            *lives = new;
        }
    }
}

/// A connection that reads, with what it remembers.
#[derive(Debug)]
pub(crate) struct ReadConnection {
    pub(crate) connection: Connection,
    pub(crate) names: KeyNames,
    shared: Arc<Shared>,
    /// The state of the file that `shared` was last told about, when another process writes to it.
    version: Option<i64>,
}

impl ReadConnection {
    /// Opens a connection on a file that this process writes to.
    pub(crate) fn beside_writer(path: &Path, shared: &Arc<Shared>) -> Result<Self, Error> {
        Ok(Self {
            connection: connect_reader(path)?,
            names: KeyNames::default(),
            shared: Arc::clone(shared),
            version: None,
        })
    }

    /// Opens a connection on a file that another process writes to.
    pub(crate) fn following(path: &Path, shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut reader = Self::beside_writer(path, shared)?;
        reader.version = Some(-1);
        reader.refresh().map_err(|error| describe(path, error))?;
        Ok(reader)
    }

    /// Reads, and tells `shared` what is gone by then: what is missing in the answer stands before `oldest` when the
    /// answer is there, also where the writer has committed and not yet said so.
    pub(crate) fn run<R>(
        &mut self,
        read: impl FnOnce(&mut Self) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        self.refresh()?;
        let answer = read(self)?;
        self.shared.set_bounds(bounds(&self.connection)?);
        Ok(answer)
    }

    /// Tells `shared` what another process changed, if it did since the last call.
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
        let lives = load_lives(&snapshot)?;
        drop(snapshot);
        self.shared.set_bounds(bounds);
        self.shared.set_lives(lives.iter().map(|past| past.life));
        self.version = Some(version);
        Ok(())
    }

    /// Returns a number that changes whenever another connection commits. It is read from shared memory.
    pub(crate) fn version_now(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }
}

/// What a thread that reads will answer.
pub(crate) type Answer<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

/// The oldest sequence from which on everything can be read, and the newest.
fn bounds(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection
        .prepare_cached("SELECT oldest, head FROM state")?
        .query_row([], |row| {
            Ok((row.get(0).map(number)?, row.get(1).map(number)?))
        })
}

type Request = Box<dyn FnOnce(&mut ReadConnection) + Send>;

pub(crate) struct Readers {
    path: PathBuf,
    requests: Option<Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts the threads, each with one of these connections.
    pub(crate) fn start(
        path: &Path,
        connect: impl Fn() -> Result<ReadConnection, Error>,
    ) -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut readers = Self {
            path: path.to_owned(),
            requests: Some(sender),
            threads: Vec::with_capacity(THREADS),
        };
        for _ in 0..THREADS {
            let connection = connect()?;
            let receiver = Arc::clone(&receiver);
            let thread = thread::Builder::new()
                .name("livespan-read".to_owned())
                .spawn(move || serve(connection, &receiver))
                .map_err(|error| Error::io("start a thread that reads the event log", error))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Has one of the threads run `read`. A read whose future is dropped before its turn is left out.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut ReadConnection) -> rusqlite::Result<R> + Send + 'static,
    ) -> Answer<R> {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let request: Request = Box::new(move |connection| {
            if !reply.is_closed() {
                let result = connection.run(read);
                let result = result.map_err(|error| failed("read", &path, error));
                // The asker may have gone while the page was read.
                drop(reply.send(result));
            }
        });
        if let Some(requests) = &self.requests {
            // Without a thread the request is dropped, and the answer says so.
            drop(requests.send(request));
        }
        Box::pin(async move { answer.await.map_err(|_gone| Error::closed())? })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.requests = None;
        for thread in self.threads.drain(..) {
            // Whoever was woken by an answer may drop the store on the very thread that answered.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

fn serve(mut connection: ReadConnection, requests: &Mutex<Receiver<Request>>) {
    loop {
        let request = lock(requests).recv();
        let Ok(request) = request else {
            return;
        };
        request(&mut connection);
    }
}

/// An error at run time, with the file that it concerns.
pub(crate) fn failed(action: &str, path: &Path, error: rusqlite::Error) -> Error {
    Error::store(format!("{action} the event log {}", path.display()), error)
}
