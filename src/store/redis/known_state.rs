//! The state of the log as this process knows it: its epochs, its head, its oldest event.
//!
//! Every reply updates it. Reading it never waits for the network. Any thread of the store uses it.

use std::sync::Arc;

use crate::{
    log::event::StreamKey,
    store::{
        EpochStart,
        redis::{
            client::{
                error::{StoreError, StoreErrorKind},
                reply::{self, ServerState},
            },
            heartbeat_timer::HeartbeatTimer,
        },
    },
    util::sync::{
        Instant, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        lock,
    },
    wire::id::{Epoch, Sequence},
};

#[derive(Debug)]
pub(crate) struct KnownState {
    snapshot: Mutex<LogSnapshot>,
    oldest: AtomicU64,
    /// Whether the log in Redis contradicts this state. The next heartbeat resolves the contradiction.
    contradicted: AtomicBool,
    heartbeat_timer: Arc<HeartbeatTimer>,
    server: Mutex<ServerHealth>,
    /// Whether this writer must reclaim its open events, because Redis considered it dead or lost its events.
    reclaim: AtomicBool,
    /// The streams that are kept on request, as of the last heartbeat or change.
    kept: Mutex<Vec<StreamKey>>,
}

/// Whether the server answers.
#[derive(Debug, Default)]
struct ServerHealth {
    /// The error of the last heartbeat or append, if the server did not answer it.
    away: Option<StoreError>,
    /// When the server answered last.
    answered: Option<Instant>,
}

/// The epochs, and the newest sequence seen so far with its epoch.
#[derive(Clone, Debug)]
pub(crate) struct LogSnapshot {
    pub(crate) lives: Arc<[EpochStart]>,
    pub(crate) epochs_text: String,
    pub(crate) epoch: String,
    pub(crate) head: u64,
}

impl KnownState {
    pub(crate) fn new(heartbeat_timer: Arc<HeartbeatTimer>) -> Self {
        // A placeholder: before the log is open, no event belongs to this epoch.
        let life = EpochStart {
            epoch: Epoch::random(),
            first: Sequence::new(1),
        };
        Self {
            snapshot: Mutex::new(LogSnapshot {
                lives: Arc::new([life]),
                epochs_text: String::new(),
                epoch: String::new(),
                head: 0,
            }),
            oldest: AtomicU64::new(1),
            contradicted: AtomicBool::new(false),
            heartbeat_timer,
            server: Mutex::default(),
            reclaim: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> LogSnapshot {
        lock(&self.snapshot).clone()
    }

    pub(crate) fn epochs(&self) -> Arc<[EpochStart]> {
        Arc::clone(&lock(&self.snapshot).lives)
    }

    pub(crate) fn oldest(&self) -> Sequence {
        Sequence::new(self.oldest.load(Ordering::Acquire))
    }

    /// Returns the error of the last heartbeat or append, if the server did not answer it. Until the server answers a
    /// heartbeat or an append, no other call waits for it: the waits of many queries would add up.
    pub(crate) fn away(&self) -> Option<StoreError> {
        lock(&self.server).away.clone()
    }

    /// Records the outcome of a heartbeat or an append that was sent at `sent`. If the server did not answer, a
    /// heartbeat is sent soon.
    pub(crate) fn note_outcome<R>(&self, sent: Instant, outcome: &Result<R, StoreError>) {
        let mut server = lock(&self.server);
        let error = outcome.as_ref().err();
        let Some(error) = error.filter(|error| error.kind == StoreErrorKind::Connection) else {
            server.away = None;
            server.answered = Some(Instant::now());
            return;
        };
        if server.answered.is_some_and(|answered| answered > sent) {
            // The server has answered another call since this one was sent.
            return;
        }
        let was_away = server.away.replace(error.clone()).is_some();
        drop(server);
        if !was_away {
            self.heartbeat_timer.beat_now();
        }
    }

    pub(crate) fn kept(&self) -> Vec<StreamKey> {
        lock(&self.kept).clone()
    }

    pub(crate) fn set_kept(&self, kept: Vec<StreamKey>) {
        *lock(&self.kept) = kept;
    }

    pub(crate) fn request_reclaim(&self) {
        self.reclaim.store(true, Ordering::Release);
    }

    pub(crate) fn take_reclaim_request(&self) -> bool {
        self.reclaim.swap(false, Ordering::AcqRel)
    }

    /// Updates the state from the reply of a script that writes. Such a script resolves any contradiction.
    pub(crate) fn apply_write_reply(&self, state: &ServerState) -> Result<(), StoreError> {
        let mut snapshot = lock(&self.snapshot);
        if let Some(text) = &state.lives {
            let first_time = snapshot.epoch.is_empty();
            snapshot.set_epochs(text)?;
            if !first_time {
                // Open events of this writer may have been lost with the previous epoch.
                self.request_reclaim();
            }
        }
        // Another thread may already have applied a newer reply.
        snapshot.head = snapshot.head.max(state.head);
        self.oldest.fetch_max(state.oldest, Ordering::AcqRel);
        self.contradicted.store(false, Ordering::Release);
        Ok(())
    }

    /// Updates the state from the reply of a read.
    pub(crate) fn apply_read_reply(&self, state: &ServerState) -> Result<(), StoreError> {
        let mut snapshot = lock(&self.snapshot);
        let lives = match &state.lives {
            Some(text) => reply::parse_epochs(text)?.into(),
            None => Arc::clone(&snapshot.lives),
        };
        if snapshot.is_contradicted_by(&lives, state) {
            if !self.contradicted.swap(true, Ordering::AcqRel) {
                self.heartbeat_timer.beat_now();
            }
            // The events of this reply still belong to these epochs.
            snapshot.lives = lives;
        } else {
            if let Some(text) = &state.lives {
                snapshot.set_epochs(text)?;
                self.request_reclaim();
            }
            snapshot.head = snapshot.head.max(state.head);
        }
        self.oldest.fetch_max(state.oldest, Ordering::AcqRel);
        Ok(())
    }
}

impl LogSnapshot {
    fn set_epochs(&mut self, text: &str) -> Result<(), StoreError> {
        let lives = reply::parse_epochs(text)?;
        let last = lives.last().ok_or_else(StoreError::unexpected)?;
        let newest = self.lives.last().map_or(0, |life| life.first.get());
        if !self.epoch.is_empty() && last.first.get() < newest {
            // A newer reply was applied first.
            return Ok(());
        }
        last.epoch.as_str().clone_into(&mut self.epoch);
        text.clone_into(&mut self.epochs_text);
        self.lives = lives.into();
        Ok(())
    }

    fn is_contradicted_by(&self, lives: &[EpochStart], state: &ServerState) -> bool {
        let place = lives
            .iter()
            .position(|life| life.epoch.as_str() == self.epoch);
        match place.map(|place| lives.get(place + 1)) {
            None => self.head > 0,
            Some(Some(next)) => next.first.get() <= self.head,
            // A reply that arrives after a newer one looks like lost data. The extra heartbeat then costs little.
            Some(None) => state.head < self.head,
        }
    }
}
