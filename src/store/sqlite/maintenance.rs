//! The thread that looks after the file while nothing is appended: it lets go of what became too old, catches up with
//! bounds that were lowered, and gives free pages back, always in short steps between which the log has its turn.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    error::Error,
    store::sqlite::{
        convert::now,
        read_pool::Shared,
        writer::{Chores, Writer},
    },
    util::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        lock,
        thread::{self, JoinHandle},
    },
};

/// How long the thread sleeps at most: the clock may be set meanwhile.
const SLEEP_MAX: u64 = 60_000;

/// The writer, and who wants it: the log goes first.
#[derive(Debug)]
pub(crate) struct Desk {
    writer: Mutex<Writer>,
    /// Calls of the log that wait for the writer.
    waiting: AtomicUsize,
    calls: Mutex<Calls>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    rung: bool,
    closed: bool,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            writer: Mutex::new(writer),
            waiting: AtomicUsize::new(0),
            calls: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Takes the writer for a call of the log.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let writer = lock(&self.writer);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        writer
    }

    pub(crate) fn ring(&self) {
        lock(&self.calls).rung = true;
        self.bell.notify_one();
    }

    fn close(&self) {
        lock(&self.calls).closed = true;
        self.bell.notify_one();
    }

    /// Does one step, and returns how long nothing more is due.
    fn step(&self, shared: &Shared) -> Duration {
        while self.waiting.load(Ordering::Acquire) > 0 {
            // A lock is not handed over in turn, so the thread stands back by itself.
            thread::yield_now();
        }
        let mut writer = lock(&self.writer);
        let now = now();
        let done = writer.maintain(now);
        shared.set_oldest(writer.oldest());
        let sleep = match done {
            Ok(Chores::Some) => 0,
            Ok(Chores::None) => writer.expires().saturating_sub(now).clamp(1, SLEEP_MAX),
            // The next append meets the same fault and reports it.
            Err(_) => SLEEP_MAX,
        };
        Duration::from_millis(sleep)
    }

    fn run(&self, shared: &Shared) {
        loop {
            let sleep = self.step(shared);
            let calls = lock(&self.calls);
            let (mut calls, _) = self
                .bell
                .wait_timeout_while(calls, sleep, |calls| !calls.rung && !calls.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if calls.closed {
                return;
            }
            calls.rung = false;
        }
    }
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(writer: Writer, shared: &Arc<Shared>) -> Result<Self, Error> {
        let desk = Arc::new(Desk::new(writer));
        let (held, shared) = (Arc::clone(&desk), Arc::clone(shared));
        let thread = thread::Builder::new()
            .name("livespan-keep".to_owned())
            .spawn(move || held.run(&shared))
            .map_err(|error| Error::io("start the thread that keeps the event log", error))?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.desk.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
