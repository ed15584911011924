//! Waiting for what another process appends to the same file. SQLite has no call for that, so a counter in shared
//! memory is looked at in short intervals; the file is read only when it moved.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sse::store::sqlite::readers::{ReadConnection, Shared, failed},
    sync::lock,
};

/// How often the counter is looked at: a twentieth of a second is at once for whoever watches, and costs nothing.
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    connection: Mutex<ReadConnection>,
    shared: Arc<Shared>,
    interrupted: Mutex<bool>,
    bell: Condvar,
}

impl Follower {
    pub(super) fn new(path: &Path, shared: &Arc<Shared>) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(ReadConnection::following(path, shared)?),
            shared: Arc::clone(shared),
            interrupted: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    /// Asks until there is an answer that is not empty, at most for `patience`.
    pub(super) fn wait<R>(
        &self,
        patience: Duration,
        ask: impl Fn(&mut ReadConnection) -> rusqlite::Result<Vec<R>>,
    ) -> Result<Vec<R>, Error> {
        let deadline = Instant::now().checked_add(patience);
        let mut seen = None;
        loop {
            let answer = self
                .look(&mut seen, &ask)
                .map_err(|error| failed("follow", &self.path, error))?;
            if !answer.is_empty() || !self.pause(deadline) {
                return Ok(answer);
            }
        }
    }

    pub(super) fn interrupt(&self) {
        *lock(&self.interrupted) = true;
        self.bell.notify_one();
    }

    /// Asks if the file changed since it was `seen`.
    fn look<R>(
        &self,
        seen: &mut Option<i64>,
        ask: impl Fn(&mut ReadConnection) -> rusqlite::Result<Vec<R>>,
    ) -> rusqlite::Result<Vec<R>> {
        let mut connection = lock(&self.connection);
        // Looked at before the file: what is committed in between is seen in the next turn.
        let version = connection.version_now()?;
        if *seen == Some(version) {
            return Ok(Vec::new());
        }
        *seen = Some(version);
        connection.refresh(&self.shared)?;
        ask(&mut connection)
    }

    /// Sleeps one interval; whether there is time for another look.
    fn pause(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map_or(INTERVAL, |at| at.saturating_duration_since(Instant::now()));
        let interrupted = lock(&self.interrupted);
        let (mut interrupted, _) = self
            .bell
            .wait_timeout_while(interrupted, left.min(INTERVAL), |interrupted| !*interrupted)
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *interrupted) && !left.is_zero()
    }
}
