//! The thread `livespan-keep`, which maintains the file between appends.
//!
//! It deletes events that became too old, catches up with bounds that were lowered, and returns free pages to the file
//! system. It works in short steps, and lets appends of the log go first.

use std::{
    sync::{Arc, PoisonError, TryLockError},
    time::Duration,
};

use crate::{
    error::Error,
    store::{
        sqlite::{
            read_pool::LogBounds,
            schema::now,
            writer::{PendingMaintenance, SqliteWriter},
        },
        threads::spawn_store_thread,
    },
    util::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        catch_panic, lock,
        thread::{self, JoinHandle},
    },
};

/// Longest sleep of the thread, in milliseconds. It is bounded because the clock may be changed meanwhile.
const SLEEP_MAX: u64 = 60_000;

/// The writer, shared by the log and the maintenance thread. Calls of the log go first. `None` once the store is
/// closed.
#[derive(Debug)]
pub(crate) struct SharedWriter {
    writer: Mutex<Option<SqliteWriter>>,
    /// The number of the log's calls that wait for the writer.
    waiting: AtomicUsize,
    signals: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Signals {
    is_requested: bool,
    is_closed: bool,
}

impl SharedWriter {
    pub(crate) fn new(writer: SqliteWriter) -> Self {
        Self {
            writer: Mutex::new(Some(writer)),
            waiting: AtomicUsize::new(0),
            signals: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Locks the writer for a call of the log.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<SqliteWriter>> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let writer = lock(&self.writer);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        writer
    }

    /// Locks the writer, unless a call is in progress: that call may hang.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Option<SqliteWriter>>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn wake(&self) {
        lock(&self.signals).is_requested = true;
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.signals).is_closed = true;
        self.changed.notify_one();
    }

    /// Runs one step of maintenance. Returns the time until the next one.
    fn step(&self, bounds: &LogBounds) -> Duration {
        while self.waiting.load(Ordering::Acquire) > 0 {
            // The mutex is not fair, so this thread yields explicitly.
            thread::yield_now();
        }
        let mut writer = lock(&self.writer);
        let Some(writer) = &mut *writer else {
            return Duration::from_millis(SLEEP_MAX);
        };
        let now = now();
        // A panic must not end the thread. After one, the writer reads its state again before the next call.
        let done = catch_panic(|| writer.maintain(now));
        bounds.set_oldest(writer.oldest());
        let sleep = match done {
            Some(Ok(PendingMaintenance::Some)) => 0,
            Some(Ok(PendingMaintenance::None)) => {
                writer.expires().saturating_sub(now).clamp(1, SLEEP_MAX)
            }
            // The next append meets the same fault and reports it.
            Some(Err(_)) | None => SLEEP_MAX,
        };
        Duration::from_millis(sleep)
    }

    fn run(&self, bounds: &LogBounds) {
        loop {
            let sleep = self.step(bounds);
            let signals = lock(&self.signals);
            let (mut signals, _) = self
                .changed
                .wait_timeout_while(signals, sleep, |signals| {
                    !signals.is_requested && !signals.is_closed
                })
                .unwrap_or_else(PoisonError::into_inner);
            if signals.is_closed {
                return;
            }
            signals.is_requested = false;
        }
    }
}

/// The running thread. Dropping this value ends it.
#[derive(Debug)]
pub(crate) struct MaintenanceThread {
    pub(crate) writer: Arc<SharedWriter>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl MaintenanceThread {
    pub(crate) fn start(writer: SqliteWriter, bounds: &Arc<LogBounds>) -> Result<Self, Error> {
        let writer = Arc::new(SharedWriter::new(writer));
        let (shared, bounds) = (Arc::clone(&writer), Arc::clone(bounds));
        let thread = spawn_store_thread("livespan-keep", move || shared.run(&bounds))?;
        Ok(Self {
            writer,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl MaintenanceThread {
    /// Ends the thread, moves the write-ahead log into the database, and lets another writer open the file.
    pub(crate) fn close(&self) {
        let mut writer = self.writer.lock();
        if let Some(writer) = writer.take() {
            writer.checkpoint();
        }
        drop(writer);
        self.end();
    }

    fn end(&self) {
        self.writer.close();
        if let Some(thread) = lock(&self.thread).take() {
            drop(thread.join());
        }
    }
}

impl Drop for MaintenanceThread {
    fn drop(&mut self) {
        self.end();
    }
}
