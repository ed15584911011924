//! Appends batches to the log in Redis, none of them twice.
//!
//! The server remembers the number of each writer's last batch, and a failed batch keeps its number when it is appended
//! again. Appends run on the log's thread; each call of the server ends within the time-outs of the
//! connection.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use redis::Cmd;

use crate::{
    log::{batch::Batch, event::StreamKey},
    store::{
        Appended,
        redis::{
            client::{
                connection::Connection,
                error::{StoreError, StoreErrorKind},
                reply::{Reply, pin_text},
                scripts::{APPEND, KEEP, OPEN, Script},
            },
            config::Settings,
            known_state::KnownState,
            open_events::OwnOpenEvents,
        },
    },
    util::sync::{self, Condvar, Instant, Mutex},
    wire::id::{Epoch, Sequence},
};

/// Interval at which opening tries again while a new epoch forms, that is, while the log in Redis waits for the newest
/// sequences of all living writers.
const FORMING_INTERVAL: Duration = Duration::from_millis(20);

/// The writing side of a store.
#[derive(Debug)]
pub(crate) struct RedisWriter {
    pub(crate) id: Arc<str>,
    pub(crate) connection: Connection,
    pub(crate) known: Arc<KnownState>,
    pub(crate) own: OwnOpenEvents,
    number: u64,
    /// Fingerprint of the batch that failed. Redis may have stored the batch nevertheless.
    failed: Option<u64>,
}

/// A change of the streams that are kept on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptChange {
    Keep,
    Stop,
}

impl KeptChange {
    fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Stop => "stop",
        }
    }
}

/// The server's answer to a [`KeptChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptOutcome {
    Kept,
    Stopped,
    Unknown,
    TooMany,
    TooLarge,
}

impl KeptOutcome {
    fn read(word: &str) -> Result<Self, StoreError> {
        match word {
            "kept" => Ok(Self::Kept),
            "stopped" => Ok(Self::Stopped),
            "unknown" => Ok(Self::Unknown),
            "many" => Ok(Self::TooMany),
            "large" => Ok(Self::TooLarge),
            _ => Err(StoreError::unexpected()),
        }
    }
}

/// Begins a call of a script that writes, with the common arguments of these scripts.
pub(crate) fn begin(
    connection: &Connection,
    script: &Script,
    writer: &str,
    known: &KnownState,
    room: (usize, usize),
) -> Cmd {
    let settings = connection.settings();
    let known = known.snapshot();
    let mut command = connection.script(script, room.0 + 10, room.1 + 512);
    command
        .arg(writer)
        .arg(&known.epoch)
        .arg(known.head)
        .arg(Epoch::random().as_str())
        .arg(&known.epochs_text)
        .arg(millis(settings.grace()))
        .arg(settings.retention.events_max())
        .arg(settings.retention.bytes_max())
        .arg(millis(settings.retention.age_max()))
        .arg(millis(settings.stream_ttl()).max(1));
    command
}

/// Converts to milliseconds, at most about three thousand years: Lua and Redis count such numbers exactly.
pub(crate) fn millis(duration: Duration) -> u64 {
    const MILLIS_MAX: u128 = 100_000_000_000_000;
    duration.as_millis().min(MILLIS_MAX) as u64
}

impl RedisWriter {
    pub(crate) fn new(id: Arc<str>, settings: Arc<Settings>, known: Arc<KnownState>) -> Self {
        Self {
            id,
            connection: Connection::new(settings),
            known,
            own: OwnOpenEvents::default(),
            number: 0,
            failed: None,
        }
    }

    /// Returns whether a batch failed and has to be appended again.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Waits until the connection may be tried again. Otherwise the log's thread would retry at once.
    pub(crate) fn wait_for_backoff(&self) {
        sleep_for(self.connection.delay());
    }

    /// Opens the log and returns its head.
    pub(crate) fn open(&mut self) -> Result<Sequence, StoreError> {
        let settings = self.connection.settings();
        // One epoch forms within the grace period, to which 50 attempts (1 s) are added. A second epoch forms only if
        // the server loses its data again.
        let attempts = settings.grace().as_millis() / FORMING_INTERVAL.as_millis() + 50;
        let mut last = StoreError::unexpected();
        for _ in 0..attempts {
            let dead_after = millis(self.connection.settings().dead_after);
            let mut command = begin(&self.connection, &OPEN, &self.id, &self.known, (1, 0));
            command.arg(dead_after);
            match self.connection.call(&OPEN, &command).and_then(Reply::read) {
                Ok(mut reply) => {
                    self.known.apply_write_reply(&reply.state)?;
                    self.known.set_kept(reply.streams()?);
                    return Ok(Sequence::new(reply.state.head));
                }
                Err(error) if error.kind == StoreErrorKind::Forming => last = error,
                Err(error) => return Err(error),
            }
            sleep_for(FORMING_INTERVAL);
        }
        Err(last)
    }

    /// Keeps a stream on request, or stops keeping it.
    pub(crate) fn change_kept(
        &mut self,
        change: KeptChange,
        key: &StreamKey,
    ) -> Result<KeptOutcome, StoreError> {
        let mut command = begin(&self.connection, &KEEP, &self.id, &self.known, (2, 64));
        command.arg(change.word()).arg(key.as_bytes());
        let mut reply = Reply::read(self.connection.call(&KEEP, &command)?)?;
        if reply.number()? > 0 {
            self.known.request_reclaim();
        }
        let outcome = KeptOutcome::read(&reply.text()?)?;
        self.known.set_kept(reply.streams()?);
        self.known.apply_write_reply(&reply.state)?;
        Ok(outcome)
    }

    /// Appends the batch without the events that the log already has.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Appended, StoreError> {
        if self
            .failed
            .is_some_and(|failed| failed != fingerprint(batch))
        {
            // The log gave up on the failed batch; this is another one.
            self.number += 1;
        }
        self.wait_for_backoff();
        let sent = Instant::now();
        let appended = self.append_once(batch);
        self.known.note_outcome(sent, &appended);
        match appended {
            Ok(appended) => {
                self.number += 1;
                self.failed = None;
                let first = appended.first.get();
                if appended.duplicates.is_empty() {
                    self.own.apply(&self.id, first, batch);
                } else {
                    let kept = batch.without(&appended.duplicates);
                    self.own.apply(&self.id, first, &kept);
                }
                Ok(appended)
            }
            Err(error) => {
                self.failed = Some(fingerprint(batch));
                Err(error)
            }
        }
    }

    fn append_once(&mut self, batch: &Batch) -> Result<Appended, StoreError> {
        let room = (1 + 4 * batch.len(), batch.size() + 128 * batch.len());
        let mut command = begin(&self.connection, &APPEND, &self.id, &self.known, room);
        command.arg(self.number);
        for record in batch.iter() {
            let key = record.stream_key().map_or(&[][..], |key| key.as_bytes());
            command
                .arg(key)
                .arg(record.name())
                .arg(pin_text(&record))
                .arg(record.payload());
        }
        let mut reply = Reply::read(self.connection.call(&APPEND, &command)?)?;
        let first = reply.number()?;
        if reply.number()? > 0 {
            self.known.request_reclaim();
        }
        let duplicates = reply.places()?;
        self.known.apply_write_reply(&reply.state)?;
        Ok(Appended {
            first: Sequence::new(first),
            duplicates,
        })
    }
}

/// Waits without `thread::park`, whose token belongs to the owner of the thread.
fn sleep_for(time: Duration) {
    let deadline = Instant::now() + time;
    let (lock, never) = (Mutex::new(()), Condvar::new());
    let mut guard = sync::lock(&lock);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        guard = match never.wait_timeout(guard, left) {
            Ok((guard, _)) => guard,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

/// Returns a hash that identifies a batch that is appended again.
fn fingerprint(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    batch.len().hash(&mut hasher);
    for record in batch.iter() {
        record.stream_key().hash(&mut hasher);
        record.name().hash(&mut hasher);
        pin_text(&record).hash(&mut hasher);
        record.payload().hash(&mut hasher);
    }
    hasher.finish()
}
