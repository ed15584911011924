//! Waiting for what another process appends to the same file. SQLite has no call for that, so a counter in shared
//! memory is looked at in short intervals; the file is read only when it moved.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    error::Error,
    store::sqlite::read_pool::{ReadConnection, Shared, failed},
    util::sync::{Condvar, Instant, Mutex, lock},
};

/// How often the counter is looked at: a twentieth of a second is at once for whoever watches, and costs nothing.
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    connection: Mutex<ReadConnection>,
    /// Waits for anything at all, and waits for streams: each has a bell, because each may go on beside the other.
    pub(crate) all: Bell,
    pub(crate) streams: Bell,
}

/// Ends the wait that goes on, or the next one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pressed: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn press(&self) {
        *lock(&self.pressed) = true;
        self.changed.notify_one();
    }

    /// Sleeps one interval; whether there is time for another look.
    fn pause(&self, deadline: Option<Instant>) -> bool {
        let left = deadline.map_or(INTERVAL, |at| at.saturating_duration_since(Instant::now()));
        let pressed = lock(&self.pressed);
        let (mut pressed, _) = self
            .changed
            .wait_timeout_while(pressed, left.min(INTERVAL), |pressed| !*pressed)
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *pressed) && !left.is_zero()
    }
}

impl Follower {
    pub(crate) fn new(path: &Path, shared: &Arc<Shared>) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(ReadConnection::following(path, shared)?),
            all: Bell::default(),
            streams: Bell::default(),
        })
    }

    /// Asks until there is an answer that is not empty, at most for `patience`.
    pub(crate) fn wait<R>(
        &self,
        bell: &Bell,
        patience: Duration,
        ask: impl Fn(&mut ReadConnection) -> rusqlite::Result<Vec<R>>,
    ) -> Result<Vec<R>, Error> {
        let deadline = Instant::now().checked_add(patience);
        let mut seen = None;
        loop {
            let answer = self
                .look(&mut seen, &ask)
                .map_err(|error| failed("follow", &self.path, error))?;
            if !answer.is_empty() || !bell.pause(deadline) {
                return Ok(answer);
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        self.all.press();
        self.streams.press();
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
        connection.run(ask)
    }
}
