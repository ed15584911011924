//! Waits for events that another process appends to the same file. The follower threads call it.
//!
//! SQLite has no call that waits for a commit. So the follower polls a counter in shared memory, and reads the file when
//! the counter has changed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    error::Error,
    store::sqlite::{
        file::{check::FileCheck, descriptor::DataFile},
        read_pool::{LogBounds, ReadConnection, failed},
    },
    util::sync::{Condvar, Instant, Mutex, lock},
};

/// Interval between two polls of the counter. A person does not notice the delay, and the polls are cheap.
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct FileFollower {
    path: PathBuf,
    connection: Mutex<ReadConnection>,
    pub(crate) file: FileCheck,
    /// A wait for all events and a wait for streams may run at the same time, so each has its own interrupt.
    pub(crate) all: Interrupt,
    pub(crate) streams: Interrupt,
}

/// Ends the current wait, or the next one.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_one();
    }

    /// Sleeps at most one interval. Returns `false` after the deadline or an interrupt.
    fn pause(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map_or(INTERVAL, |at| at.saturating_duration_since(Instant::now()));
        let raised = lock(&self.raised);
        let (mut raised, _) = self
            .changed
            .wait_timeout_while(raised, left.min(INTERVAL), |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *raised) && !left.is_zero()
    }
}

impl FileFollower {
    pub(crate) fn new(
        path: &Path,
        data: &DataFile,
        bounds: &Arc<LogBounds>,
    ) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(ReadConnection::following(path, data, bounds)?),
            file: FileCheck::new(path, data),
            all: Interrupt::default(),
            streams: Interrupt::default(),
        })
    }

    /// Polls until `ask` returns something, the time has passed, or the interrupt is raised.
    pub(crate) fn wait<R>(
        &self,
        interrupt: &Interrupt,
        timeout: Duration,
        ask: impl Fn(&mut ReadConnection) -> rusqlite::Result<Vec<R>>,
    ) -> Result<Vec<R>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        let mut seen = None;
        loop {
            let answer = self
                .poll_changes(&mut seen, &ask)
                .map_err(|error| failed("follow", &self.path, error))?;
            if !answer.is_empty() || !interrupt.pause(deadline) {
                return Ok(answer);
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        self.all.raise();
        self.streams.raise();
    }

    /// Calls `ask` if the file changed since version `seen`.
    fn poll_changes<R>(
        &self,
        seen: &mut Option<i64>,
        ask: impl Fn(&mut ReadConnection) -> rusqlite::Result<Vec<R>>,
    ) -> rusqlite::Result<Vec<R>> {
        let mut connection = lock(&self.connection);
        // Read before the query: a commit in between is seen at the next poll.
        let version = connection.version_now()?;
        if *seen == Some(version) {
            return Ok(Vec::new());
        }
        *seen = Some(version);
        connection.run(ask)
    }
}
