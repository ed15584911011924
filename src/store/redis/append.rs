//! Appends batches, each once: a batch that failed is known again, and the server knows the number of the last one of
//! each writer. Runs on the log's thread; a call ends within the time-outs of the connection.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use redis::Cmd;

use crate::{
    log::batch::Batch,
    store::{
        Appended,
        redis::{
            config::Settings,
            connection::Link,
            error::{Fault, FaultKind},
            known_state::View,
            open_events::OwnPins,
            reply::{Reply, pin_text},
            scripts::{APPEND, OPEN, Script},
        },
    },
    util::sync::{self, Condvar, Instant, Mutex},
    wire::id::{Epoch, Sequence},
};

/// How often the opening of a log asks again while a new life of it forms.
const FORMING_INTERVAL: Duration = Duration::from_millis(20);

/// The writing side of a store.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) id: Arc<str>,
    pub(crate) link: Link,
    pub(crate) view: Arc<View>,
    pub(crate) own: OwnPins,
    number: u64,
    /// The batch that failed, which may have been kept all the same.
    failed: Option<u64>,
}

/// Begins the call of a script that writes, with what all of them are told.
pub(crate) fn begin(
    link: &Link,
    script: &Script,
    writer: &str,
    view: &View,
    room: (usize, usize),
) -> Cmd {
    let settings = link.settings();
    let known = view.known();
    let mut command = link.script(script, room.0 + 10, room.1 + 512);
    command
        .arg(writer)
        .arg(&known.epoch)
        .arg(known.head)
        .arg(Epoch::random().as_str())
        .arg(&known.lives_text)
        .arg(millis(settings.grace()))
        .arg(settings.retention.events_max())
        .arg(settings.retention.bytes_max())
        .arg(millis(settings.retention.age_max()))
        .arg(millis(settings.stream_ttl()).max(1));
    command
}

/// Milliseconds that Lua and Redis can still count exactly: at most about three thousand years.
pub(crate) fn millis(duration: Duration) -> u64 {
    const MILLIS_MAX: u128 = 100_000_000_000_000;
    duration.as_millis().min(MILLIS_MAX) as u64
}

impl Writer {
    pub(crate) fn new(id: Arc<str>, settings: Arc<Settings>, view: Arc<View>) -> Self {
        Self {
            id,
            link: Link::new(settings),
            view,
            own: OwnPins::default(),
            number: 0,
            failed: None,
        }
    }

    /// Whether a batch waits to be handed in again.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Waits until a connection may be tried: the log's thread has nothing else to do, and comes back at once if it is
    /// told that there is none yet.
    pub(crate) fn rest(&self) {
        rest(self.link.delay());
    }

    /// Opens the log; returns its head.
    pub(crate) fn open(&mut self) -> Result<Sequence, Fault> {
        let settings = self.link.settings();
        // One life forms at a time; a second one can only follow when the server loses its data again.
        let attempts = settings.grace().as_millis() / FORMING_INTERVAL.as_millis() + 50;
        let mut last = Fault::unexpected();
        for _ in 0..attempts {
            let dead_after = millis(self.link.settings().dead_after);
            let mut command = begin(&self.link, &OPEN, &self.id, &self.view, (1, 0));
            command.arg(dead_after);
            match self.link.call(&OPEN, &command).and_then(Reply::read) {
                Ok(reply) => {
                    self.view.settled(&reply.news)?;
                    return Ok(Sequence::new(reply.news.head));
                }
                Err(fault) if fault.kind == FaultKind::Forming => last = fault,
                Err(fault) => return Err(fault),
            }
            rest(FORMING_INTERVAL);
        }
        Err(last)
    }

    /// Keeps the batch, but for what the log has already.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Appended, Fault> {
        if self
            .failed
            .is_some_and(|failed| failed != fingerprint(batch))
        {
            // The log gave the failed one up: this is another, whatever became of that.
            self.number += 1;
        }
        self.rest();
        match self.append_once(batch) {
            Ok(appended) => {
                self.number += 1;
                self.failed = None;
                let first = appended.first.get();
                if appended.repeated.is_empty() {
                    self.own.apply(&self.id, first, batch);
                } else {
                    let kept = batch.without(&appended.repeated);
                    self.own.apply(&self.id, first, &kept);
                }
                Ok(appended)
            }
            Err(fault) => {
                self.failed = Some(fingerprint(batch));
                Err(fault)
            }
        }
    }

    fn append_once(&mut self, batch: &Batch) -> Result<Appended, Fault> {
        let room = (1 + 4 * batch.len(), batch.size() + 128 * batch.len());
        let mut command = begin(&self.link, &APPEND, &self.id, &self.view, room);
        command.arg(self.number);
        for record in batch.iter() {
            let key = record.stream_key().map_or(&[][..], |key| key.as_bytes());
            command
                .arg(key)
                .arg(record.name())
                .arg(pin_text(&record))
                .arg(record.payload());
        }
        let mut reply = Reply::read(self.link.call(&APPEND, &command)?)?;
        let first = reply.number()?;
        if reply.number()? > 0 {
            self.view.want_retake();
        }
        let repeated = reply.places()?;
        self.view.settled(&reply.news)?;
        Ok(Appended {
            first: Sequence::new(first),
            repeated,
        })
    }
}

/// Waits, without the thread's token of `park`, which is its owner's.
fn rest(time: Duration) {
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

/// What a batch is known again by.
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
