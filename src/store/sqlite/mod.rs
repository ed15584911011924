//! The event log in one SQLite file: the public type.
//!
//! Its parts, from the file up: [`mod@file`] (its path, lock and identity), [`schema`] (tables), [`state`] (the writer's
//! state in memory), [`carried`] (old events of running traces), [`writer`] and [`retention`] (transactions),
//! [`maintenance`] (a thread that trims the file between appends), [`queries`], [`read_pool`] (threads that read),
//! [`follow`] (a file that another process writes).

pub(crate) mod carried;
pub(crate) mod file;
pub(crate) mod follow;
pub(crate) mod maintenance;
pub(crate) mod open_events;
pub(crate) mod queries;
pub(crate) mod read_pool;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod stream_ids;
pub(crate) mod writer;

use std::{
    future::ready,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

pub use crate::store::sqlite::schema::Synchronous;
use crate::store::sqlite::{
    file::{
        check::other_name,
        descriptor::DataFile,
        errors::{describe, refused as refused_at_opening, unusable},
        path::{check_header, locate},
        write_lock::lock_for_writing,
    },
    follow::FileFollower,
    maintenance::MaintenanceThread,
    read_pool::{LogBounds, PoolFuture, ReadConnection, ReadPool, failed},
    writer::{PendingMaintenance, SqliteWriter},
};
use crate::{
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        event::StreamKey,
        retention::{KeepError, Retention},
    },
    store::{
        Appended, EpochStart, EventStore, EvictedFuture, HeadFuture, KeptStreams,
        OpenEventRecovery, PageLimit, ReadFuture, RecoveredEvents, SharedLog, StreamsFuture,
    },
    wire::id::Sequence,
};

/// How often the log asks the store to check that its file is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the log in one SQLite file: the durable default for one machine.
///
/// Once an append has returned, its events survive `kill -9` of the process. Readers get events only after that, unless
/// the store fails or is slow. Whether a power cut loses events depends on [`Synchronous`]; by default it loses none.
/// Opening does not scan the file, whatever its size. Each opening for writing begins a new epoch ([`EpochStart`]), and
/// readers can resume from ids of earlier epochs.
///
/// Only one process may write. A second writer is refused, even if it opens the file by another name (on Linux also by
/// a hard link or another mount). Any number of processes may read at the same time, each through its own
/// [`read_only`](Self::read_only) handle, which sees new events within 50 ms. Beside the file are
/// `-wal` and `-shm`, which belong to SQLite, and `-lock`, the lock file of the writer. The file must be on a local
/// disk, because network file systems lack the locks. New files can be read and written only by their owner (mode
/// 0600); an existing file keeps its mode.
///
/// If the file is removed, replaced or truncated while the log is open, no more events are stored. The log is degraded
/// within a few seconds, until the file is back or the log is opened again.
///
/// The defaults keep 10 million events, 8 GiB and 30 days, whichever is least. An event counts as the bytes of its SSE
/// frame, and a stream as twice its name. With payloads of 300 bytes, the file is 1.17 times as large as these bytes
/// (measured). It is never more than twice as large. Space that retention frees is reused; free space beyond an eighth
/// of the file is returned to the file system.
///
/// While a stream is open, such as a running trace, all its events are kept, within a
/// [share](Retention::CARRIED_DIVISOR) of the bounds. After its end, they are removed when the last one is too old, or
/// when other streams need the share.
///
/// The guide: [stores](crate::_guide::stores).
///
/// ```
/// use livespan::{Retention, SqliteEventStore, SseTarget};
/// # struct Tick;
/// # impl livespan::SseEvent for Tick {
/// #     fn name(&self) -> &str { "tick" }
/// #     fn encode(&self, out: &mut Vec<u8>) { out.extend_from_slice(b"{}"); }
/// # }
///
/// # let folder = std::env::temp_dir().join(format!("livespan-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("events.db");
/// let store = SqliteEventStore::new(&path)
///     .retention(SqliteEventStore::default_retention().events(1_000_000));
/// let target = SseTarget::<Tick>::builder().store(store).build()?;
/// target.try_dispatch(&Tick)?;
/// # target.shutdown(std::time::Duration::from_secs(30))?;
/// # drop(target);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// At shutdown of the log, SQLite moves its write-ahead log, at most some 16 MB, into the database. `-wal` and `-shm`
/// are then removed, unless a process is reading. From then on, this or another process can open the file for writing
/// again. The store's threads end when the log, and with it the store, is dropped: the thread that drops the last
/// handle waits for them. If the process exits without a shutdown, keep the files beside the database with it: the next
/// opening reads them.
#[derive(Debug)]
#[must_use]
pub struct SqliteEventStore {
    path: PathBuf,
    retention: Retention,
    synchronous: Synchronous,
    mode: OpenMode,
    opened: OnceLock<OpenStore>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenMode {
    Write,
    Read,
}

/// Fields are dropped in this order: readers first, the writer last.
#[derive(Debug)]
struct OpenStore {
    read_pool: ReadPool,
    role: Role,
    path: PathBuf,
    bounds: Arc<LogBounds>,
}

#[derive(Debug)]
enum Role {
    Writes(MaintenanceThread),
    Follows(Box<FileFollower>),
}

impl SqliteEventStore {
    /// Default bound on the events in a file: 10 million, which are five million spans. It bounds the cost of a full
    /// scan.
    pub const DEFAULT_RETENTION_EVENTS: usize = 10_000_000;
    /// Default bound on the bytes in a file: 8 GiB, so that unusually large events do not fill a disk. It is 1 GiB on
    /// systems with a 32-bit `usize`.
    pub const DEFAULT_RETENTION_BYTES: usize = if cfg!(target_pointer_width = "64") {
        8 * (1 << 30)
    } else {
        1 << 30
    };
    /// Default age, since it was stored, at which an event in a file is evicted: 30 days. Events of the last month are
    /// then still there, but personal data in attributes is not kept for ever.
    pub const DEFAULT_RETENTION_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Sets the path of the file. Its directory must exist; the file is created if it does not exist. The file system
    /// is not accessed before a log opens the store.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Self::default_retention(),
            synchronous: Synchronous::default(),
            mode: OpenMode::Write,
            opened: OnceLock::new(),
        }
    }

    /// Returns the default bounds: 10 million events, 8 GiB, 30 days.
    pub fn default_retention() -> Retention {
        Retention::default()
            .events(Self::DEFAULT_RETENTION_EVENTS)
            .bytes(Self::DEFAULT_RETENTION_BYTES)
            .age(Self::DEFAULT_RETENTION_AGE)
    }

    /// Sets the bounds on the kept events. Events beyond the bounds are deleted in short steps after opening.
    #[expect(
        clippy::same_name_method,
        reason = "the builder's option and the trait's method are both named for the retention"
    )]
    pub fn retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Sets whether a commit waits for the disk. The default is [`Synchronous::Full`].
    pub fn synchronous(self, synchronous: Synchronous) -> Self {
        Self {
            synchronous,
            ..self
        }
    }

    /// Opens the file for reading: the log shows and replays the events that another process writes, and refuses events
    /// of its own. The file must exist.
    pub fn read_only(self) -> Self {
        Self {
            mode: OpenMode::Read,
            ..self
        }
    }

    fn open_for_writing(&self) -> Result<(OpenStore, Sequence), Error> {
        let path = locate(&self.path)?;
        let data = DataFile::open_or_create(&path).map_err(|error| unusable(&path, error))?;
        check_header(&path, &data)?;
        let lock = lock_for_writing(&path, &data)?;
        let connection = schema::connect_writer(&path, self.synchronous)?;
        let writer = SqliteWriter::open(connection, lock, self.retention, &path)?;
        if let Some(problem) = writer.file_problem() {
            // The file was replaced between two of these steps.
            return Err(refused_at_opening(&path, problem));
        }
        let bounds = Arc::new(LogBounds::default());
        bounds.set_oldest(writer.oldest());
        bounds.set_epochs(writer.epochs());
        bounds.set_kept(writer.kept().map_err(|error| describe(&path, error))?);
        let head = Sequence::new(writer.head());
        let connect = {
            let (path, bounds) = (path.clone(), Arc::clone(&bounds));
            move || ReadConnection::beside_writer(&path, &data, &bounds)
        };
        let read_pool = ReadPool::start(&path, connect)?;
        let opened = OpenStore {
            read_pool,
            role: Role::Writes(MaintenanceThread::start(writer, &bounds)?),
            path,
            bounds,
        };
        Ok((opened, head))
    }

    fn open_for_reading(&self) -> Result<(OpenStore, Sequence), Error> {
        let path = locate(&self.path)?;
        let data = DataFile::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused_at_opening(&path, "there is no such file"),
            _ => unusable(&path, error),
        })?;
        check_header(&path, &data)?;
        if let Some(problem) = other_name(&path, &data) {
            return Err(refused_at_opening(&path, problem));
        }
        let bounds = Arc::new(LogBounds::default());
        let follower = FileFollower::new(&path, &data, &bounds)?;
        let connect = {
            let (path, bounds) = (path.clone(), Arc::clone(&bounds));
            move || ReadConnection::following(&path, &data, &bounds)
        };
        let head = queries::head(&connect()?.connection).map_err(|error| describe(&path, error))?;
        let read_pool = ReadPool::start(&path, connect)?;
        let opened = OpenStore {
            read_pool,
            role: Role::Follows(Box::new(follower)),
            path,
            bounds,
        };
        Ok((opened, head))
    }

    fn opened(&self) -> Result<&OpenStore, Error> {
        self.opened
            .get()
            .ok_or_else(|| refused("use", &self.path, "it is not open"))
    }

    /// Runs a query on a thread of the read pool, if the store is open.
    fn ask<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut ReadConnection) -> rusqlite::Result<R> + Send + 'static,
    ) -> PoolFuture<R> {
        match self.opened() {
            Ok(opened) => opened.read_pool.ask(read),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    /// Changes which streams are kept on request.
    fn change_kept<R>(
        &self,
        change: impl FnOnce(&mut SqliteWriter) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        let opened = self.opened()?;
        let Role::Writes(maintenance) = &opened.role else {
            return Err(refused(
                "keep a stream in",
                &opened.path,
                "it is open for reading",
            ));
        };
        let mut writer = maintenance.writer.lock();
        let Some(writer) = &mut *writer else {
            return Err(closed("keep a stream in", &opened.path));
        };
        if let Some(problem) = writer.file_problem() {
            return Err(refused("keep a stream in", &opened.path, problem));
        }
        let changed = change(writer).and_then(|changed| Ok((changed, writer.kept()?)));
        let (changed, kept) =
            changed.map_err(|error| failed("keep a stream in", &opened.path, error))?;
        opened.bounds.set_kept(kept);
        maintenance.writer.wake();
        Ok(changed)
    }

    fn follower(&self) -> Result<&FileFollower, Error> {
        match &self.opened()?.role {
            Role::Follows(follower) => Ok(follower),
            Role::Writes(_) => Err(refused("follow", &self.path, "it is open for writing")),
        }
    }
}

fn refused(action: &str, path: &Path, reason: impl Into<String>) -> Error {
    Error::store(
        format!("{action} the event log {}", path.display()),
        reason.into(),
    )
}

fn closed(action: &str, path: &Path) -> Error {
    refused(action, path, "it was closed, because its log was shut down")
}

impl EventStore for SqliteEventStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    /// Opens the file.
    ///
    /// # Errors
    /// Returns an error if the directory is missing or read-only, the path is a directory, another process writes to
    /// the file or has locked it, or the disk is full. It also returns one if the file is not a database, is damaged,
    /// or belongs to another program or a later livespan. The message names the file and the cause.
    fn open(&self) -> Result<Sequence, Error> {
        let (opened, head) = match self.mode {
            OpenMode::Write => self.open_for_writing()?,
            OpenMode::Read => self.open_for_reading()?,
        };
        self.opened
            .set(opened)
            .map_err(|_second| refused("open", &self.path, "this store is open already"))?;
        Ok(head)
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.opened.get().map_or_else(
            || Arc::new([]) as Arc<[EpochStart]>,
            |opened| opened.bounds.epochs(),
        )
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let opened = self.opened()?;
        let Role::Writes(maintenance) = &opened.role else {
            return Err(refused(
                "append to",
                &opened.path,
                "it is open for reading; the process that writes to it has to append",
            ));
        };
        let failed = |error| failed("append to", &opened.path, error);
        let mut writer = maintenance.writer.lock();
        let Some(writer) = &mut *writer else {
            return Err(closed("append to", &opened.path));
        };
        if let Some(problem) = writer.file_problem() {
            return Err(refused("append to", &opened.path, problem));
        }
        writer.refresh().map_err(failed)?;
        if first.get() <= writer.head() {
            return Err(Error::store_failed(format!(
                "append to the event log {}: {first} is not after its newest event, {}",
                opened.path.display(),
                writer.head()
            )));
        }
        let (duplicates, pending) = writer.append(first, batch, schema::now()).map_err(failed)?;
        opened.bounds.set_oldest(writer.oldest());
        if opened.bounds.kept_count() != writer.kept_count() {
            // The kept streams have outgrown their share. If this read fails, the next append repeats it.
            if let Ok(kept) = writer.kept() {
                opened.bounds.set_kept(kept);
            }
        }
        if pending == PendingMaintenance::Some {
            maintenance.writer.wake();
        }
        Ok(Appended { first, duplicates })
    }

    fn retention(&self) -> Option<Retention> {
        // A reader does not know the writer's bounds.
        (self.mode == OpenMode::Write).then_some(self.retention)
    }

    fn check_interval(&self) -> Option<Duration> {
        Some(CHECK_INTERVAL)
    }

    fn check(&self) -> Result<(), Error> {
        let opened = self.opened()?;
        let problem = match &opened.role {
            // If the writer is busy, the check is skipped here: its append checks the file itself.
            Role::Writes(maintenance) => maintenance
                .writer
                .try_lock()
                .and_then(|writer| writer.as_ref()?.file_problem()),
            Role::Follows(follower) => follower.file.problem_of_reader(),
        };
        problem.map_or(Ok(()), |problem| {
            Err(refused("keep", &opened.path, problem))
        })
    }

    /// Moves the write-ahead log into the database, so that the file is complete without it, and releases the write
    /// lock.
    fn close(&self) {
        if let Some(OpenStore {
            read_pool,
            role: Role::Writes(maintenance),
            ..
        }) = self.opened.get()
        {
            // SQLite removes the files beside the database when the last connection closes, if that connection can
            // write. So the readers' connections are closed first.
            read_pool.close_idle_connections();
            maintenance.close();
        }
    }

    fn oldest(&self) -> Sequence {
        self.opened
            .get()
            .map_or(Sequence::new(1), |opened| opened.bounds.oldest())
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.ask(move |reader| queries::after(&reader.connection, &mut reader.keys, after, limit))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        let keys = keys.to_vec();
        self.ask(move |reader| {
            queries::streams_after(&reader.connection, &mut reader.keys, &keys, after, limit)
        })
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        self.ask(move |reader| {
            queries::streams_before(&mut reader.connection, &mut reader.keys, before, limit)
        })
    }

    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        let keys = keys.to_vec();
        self.ask(move |reader| queries::evicted(&mut reader.connection, &keys))
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        Some(self)
    }

    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        (self.mode == OpenMode::Write).then_some(self)
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        (self.mode == OpenMode::Read).then_some(self)
    }
}

impl KeptStreams for SqliteEventStore {
    fn keep(&self, key: &StreamKey) -> Result<(), KeepError> {
        self.change_kept(|writer| writer.keep(key))
            .map_err(KeepError::Store)?
    }

    fn stop_keeping(&self, key: &StreamKey) -> Result<bool, Error> {
        self.change_kept(|writer| writer.stop_keeping(key))
    }

    fn kept(&self) -> Vec<StreamKey> {
        let opened = self.opened.get();
        opened
            .map(|opened| opened.bounds.kept())
            .unwrap_or_default()
    }
}

impl OpenEventRecovery for SqliteEventStore {
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error> {
        let opened = self.opened()?;
        let Role::Writes(maintenance) = &opened.role else {
            return Ok(RecoveredEvents::default());
        };
        let mut writer = maintenance.writer.lock();
        let Some(writer) = &mut *writer else {
            return Err(closed("read", &opened.path));
        };
        let abandoned = writer
            .abandoned()
            .map_err(|error| failed("read", &opened.path, error))?;
        Ok(RecoveredEvents {
            abandoned,
            reopened: Vec::new(),
        })
    }

    fn read_open_global_events(&self) -> ReadFuture<'_> {
        self.ask(|reader| queries::open_global_events(&mut reader.connection, &mut reader.keys))
    }
}

impl SharedLog for SqliteEventStore {
    fn head(&self) -> HeadFuture<'_> {
        self.ask(|reader| queries::head(&reader.connection))
    }

    fn known_head(&self) -> Sequence {
        self.opened
            .get()
            .map_or(Sequence::START, |opened| opened.bounds.head())
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        let follower = self.follower()?;
        follower.wait(&follower.all, timeout, |reader| {
            queries::after(&reader.connection, &mut reader.keys, after, limit)
        })
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        let follower = self.follower()?;
        follower.wait(&follower.streams, timeout, |reader| {
            queries::newest_of(&mut reader.connection, streams, global_after)
        })
    }

    fn interrupt(&self) {
        if let Ok(follower) = self.follower() {
            follower.interrupt();
        }
    }
}
