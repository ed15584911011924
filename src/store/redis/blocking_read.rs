//! Waits in Redis for what other processes append: `XREAD` on a connection of its own, which only says that there is
//! something; what there is, is read as pages. A wait blocks its thread, at most a slice of time at once, so that a dead
//! connection is noticed.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use crate::{
    log::{batch::StoredEvent, event::StreamKey},
    store::{
        PageLimit,
        redis::{
            append::millis,
            config::Settings,
            connection::Link,
            error::{Fault, FaultKind},
            known_state::View,
            queries::{self, Ask, What},
            reply,
        },
    },
    util::sync::{Condvar, Instant, Mutex, MutexGuard, lock},
    wire::id::Sequence,
};

/// The longest single `XREAD`.
const SLICE: Duration = Duration::from_secs(2);
/// The longest one when the user may not unblock clients.
const SLICE_DEAF: Duration = Duration::from_millis(200);
/// How soon a wait is asked for again that had not yet begun in Redis.
const RING_INTERVAL: Duration = Duration::from_millis(1);

/// One thread's way to wait.
#[derive(Debug)]
pub(crate) struct Waiter {
    link: Mutex<(Link, Client)>,
    pub(crate) bell: Arc<Bell>,
}

/// What the connection is called in Redis.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    generation: u64,
    id: Option<u64>,
}

/// Ends a wait from outside.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<BellState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BellState {
    rung: bool,
    /// The connection that is blocked in Redis now, or is about to be.
    blocked: Option<u64>,
}

impl Bell {
    /// Notes that the wait must end; whether Redis must be told.
    pub(crate) fn press(&self) -> bool {
        let mut state = lock(&self.state);
        state.rung = true;
        self.changed.notify_all();
        state.blocked.is_some()
    }

    /// Unblocks the connection; runs on a thread of the desk.
    pub(crate) fn ring(&self, link: &mut Link) {
        let timeout = link.settings().response_timeout;
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while let Some(client) = state.blocked
            && state.rung
            && Instant::now() < deadline
        {
            drop(state);
            let mut command = redis::cmd("CLIENT");
            command.arg("UNBLOCK").arg(client);
            match link.command(&command, timeout) {
                Ok(Value::Int(1)) | Err(_) => return,
                Ok(_not_blocked_yet) => {}
            }
            state = self.nap(lock(&self.state), RING_INTERVAL);
        }
    }

    fn nap<'a>(
        &self,
        state: MutexGuard<'a, BellState>,
        time: Duration,
    ) -> MutexGuard<'a, BellState> {
        match self.changed.wait_timeout(state, time) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Whether it was rung since the last time; a wait that ends for it takes it.
    fn take(&self) -> bool {
        std::mem::take(&mut lock(&self.state).rung)
    }

    /// Waits here, not in Redis; whether it was rung.
    fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut state = lock(&self.state);
        while !state.rung {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.nap(state, left);
        }
        state.rung = false;
        true
    }

    /// Says that this connection will be blocked, unless it was rung.
    fn block(&self, client: Option<u64>) -> bool {
        let mut state = lock(&self.state);
        if state.rung {
            state.rung = false;
            return false;
        }
        state.blocked = client;
        true
    }

    fn unblock(&self) {
        lock(&self.state).blocked = None;
        self.changed.notify_all();
    }
}

/// What one wait waits for.
pub(crate) struct Place<'a> {
    pub(crate) key: Option<&'a StreamKey>,
    pub(crate) after: Sequence,
}

impl Waiter {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            link: Mutex::new((Link::new(settings), Client::default())),
            bell: Arc::default(),
        }
    }

    /// Waits for an event after a place of the whole log.
    pub(crate) fn after(
        &self,
        view: &View,
        after: Sequence,
        limit: PageLimit,
        patience: Duration,
    ) -> Result<Vec<StoredEvent>, Fault> {
        let deadline = Instant::now() + patience;
        let mut held = lock(&self.link);
        let (link, client) = &mut *held;
        if !self.recover(link, deadline) {
            return Ok(Vec::new());
        }
        let ask = Ask::new(What::All, after, limit);
        let log = link.settings().key("log");
        loop {
            if self.bell.take() {
                return Ok(Vec::new());
            }
            let page = queries::read(link, view, &ask)?.events;
            let left = deadline.saturating_duration_since(Instant::now());
            if !page.is_empty() || left.is_zero() {
                return Ok(page);
            }
            let streams = [(log.clone(), after)];
            if self.block(link, client, &streams, left)?.is_none() {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits for an event after one of these places; returns the newest sequence where there is one.
    pub(crate) fn streams(
        &self,
        view: &View,
        places: &[Place<'_>],
        patience: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Fault> {
        let deadline = Instant::now() + patience;
        let mut held = lock(&self.link);
        let (link, client) = &mut *held;
        if !self.recover(link, deadline) {
            return Ok(Vec::new());
        }
        let settings = link.settings();
        let streams: Vec<(Vec<u8>, Sequence)> = places
            .iter()
            .map(|place| match place.key {
                Some(key) => (settings.stream(key.as_bytes()), place.after),
                None => (settings.key("every"), place.after),
            })
            .collect();
        loop {
            if self.bell.take() {
                return Ok(Vec::new());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(woken) = self.block(link, client, &streams, left)? else {
                return Ok(Vec::new());
            };
            if !woken.is_empty() {
                // A blocked client is told of one stream alone, the first of those that a script wrote to.
                let woken = look(link, &streams)?;
                let of = places.iter().zip(&streams);
                let keys = of.filter(|(_, (stream, _))| woken.contains(stream));
                let keys = keys.map(|(place, _)| place.key.copied());
                let ask = Ask::new(What::Newest, Sequence::START, PageLimit::default());
                let news = queries::read(link, view, &ask.with_keys(keys))?.places;
                if !news.is_empty() {
                    return Ok(news);
                }
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits until a connection may be tried; `false` when the wait is over before.
    fn recover(&self, link: &Link, deadline: Instant) -> bool {
        let delay = link.delay();
        if delay.is_zero() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        !self.bell.wait(delay.min(left)) && delay <= left
    }

    /// Blocks in Redis, at most for a slice; returns the streams that have something, `None` when it was interrupted.
    fn block(
        &self,
        link: &mut Link,
        client: &mut Client,
        streams: &[(Vec<u8>, Sequence)],
        left: Duration,
    ) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        let response = link.settings().response_timeout;
        let id = identify(link, client)?;
        let slice = if id.is_some() { SLICE } else { SLICE_DEAF }.min(left);
        let command = xread(streams, Some(slice));
        if !self.bell.block(id) {
            return Ok(None);
        }
        let answer = link.command(&command, slice + response);
        self.bell.unblock();
        streams_of(answer?).map(Some)
    }
}

/// The streams that have something now.
fn look(link: &mut Link, streams: &[(Vec<u8>, Sequence)]) -> Result<Vec<Vec<u8>>, Fault> {
    let timeout = link.settings().response_timeout;
    streams_of(link.command(&xread(streams, None), timeout)?)
}

fn streams_of(answer: Value) -> Result<Vec<Vec<u8>>, Fault> {
    let streams = reply::array(answer)?.into_iter();
    streams
        .map(|stream| reply::bytes(reply::array(stream)?.into_iter().next()))
        .collect()
}

/// What this connection is called, so that another can unblock it; nothing where the user may not ask.
fn identify(link: &mut Link, client: &mut Client) -> Result<Option<u64>, Fault> {
    if client.generation == link.generation() && client.generation > 0 && link.is_connected() {
        return Ok(client.id);
    }
    let mut command = redis::cmd("CLIENT");
    command.arg("ID");
    let timeout = link.settings().response_timeout;
    let id = match link.command(&command, timeout) {
        Ok(value) => Some(reply::number(Some(value))?),
        Err(fault) if fault.kind == FaultKind::Permission => None,
        Err(fault) => return Err(fault),
    };
    *client = Client {
        generation: link.generation(),
        id,
    };
    Ok(id)
}

/// Asks for one entry of each, which is enough to know that there is one. A block of no time would be one without end.
fn xread(streams: &[(Vec<u8>, Sequence)], slice: Option<Duration>) -> Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(1);
    if let Some(slice) = slice {
        command.arg("BLOCK").arg(millis(slice).max(1));
    }
    command.arg("STREAMS");
    for (stream, _) in streams {
        command.arg(stream);
    }
    for (_, after) in streams {
        command.arg(format!("{after}-0"));
    }
    command
}
