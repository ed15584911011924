//! Waits in Redis for the events that other processes append.
//!
//! A wait is an `XREAD` on a connection of its own. It only reports that there are events, which are then read in
//! pages. A wait blocks its follower thread for short slices of time, so that a dead connection is noticed.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use crate::{
    log::{batch::StoredEvent, event::StreamKey},
    store::{
        PageLimit,
        redis::{
            append::millis,
            client::{
                connection::Connection,
                error::{StoreError, StoreErrorKind},
                reply,
            },
            config::Settings,
            known_state::KnownState,
            queries::{self, Query, QueryKind},
        },
    },
    util::sync::{Condvar, Instant, Mutex, MutexGuard, lock},
    wire::id::Sequence,
};

/// Longest time of a single `XREAD`.
const SLICE: Duration = Duration::from_secs(2);
/// Longest time of a single `XREAD` if the Redis user may not call `CLIENT ID`. Then no other thread can interrupt the
/// `XREAD`.
const SLICE_WITHOUT_UNBLOCK: Duration = Duration::from_millis(200);
/// Interval of `CLIENT UNBLOCK` calls while the wait has not begun in Redis.
const UNBLOCK_RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// A connection that one thread uses to wait.
#[derive(Debug)]
pub(crate) struct BlockingReader {
    connection: Mutex<(Connection, ClientId)>,
    pub(crate) interrupt: Arc<ReadInterrupt>,
}

/// The id of the connection in Redis (`CLIENT ID`).
#[derive(Clone, Copy, Debug, Default)]
struct ClientId {
    generation: u64,
    id: Option<u64>,
}

/// Ends a wait from another thread.
#[derive(Debug, Default)]
pub(crate) struct ReadInterrupt {
    state: Mutex<InterruptState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct InterruptState {
    is_raised: bool,
    /// The connection that is blocked in Redis, or is about to be.
    blocked: Option<u64>,
}

impl ReadInterrupt {
    /// Requests the end of the wait. Returns whether a `CLIENT UNBLOCK` is needed.
    pub(crate) fn raise(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_raised = true;
        self.changed.notify_all();
        state.blocked.is_some()
    }

    /// Unblocks the connection, and tries again until the response time-out. Runs on a thread of the read pool.
    pub(crate) fn unblock_client(&self, connection: &mut Connection) {
        let timeout = connection.settings().response_timeout;
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while let Some(client) = state.blocked
            && state.is_raised
            && Instant::now() < deadline
        {
            drop(state);
            let mut command = redis::cmd("CLIENT");
            command.arg("UNBLOCK").arg(client);
            match connection.command(&command, timeout) {
                Ok(Value::Int(1)) | Err(_) => return,
                Ok(_not_blocked_yet) => {}
            }
            state = self.wait_for_change(lock(&self.state), UNBLOCK_RETRY_INTERVAL);
        }
    }

    fn wait_for_change<'a>(
        &self,
        state: MutexGuard<'a, InterruptState>,
        time: Duration,
    ) -> MutexGuard<'a, InterruptState> {
        match self.changed.wait_timeout(state, time) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Returns whether the interrupt was raised, and clears it.
    fn take(&self) -> bool {
        std::mem::take(&mut lock(&self.state).is_raised)
    }

    /// Waits in this process, not in Redis. Returns whether the interrupt was raised.
    fn wait(&self, time: Duration) -> bool {
        let deadline = end_of(time);
        let mut state = lock(&self.state);
        while !state.is_raised {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait_for_change(state, left);
        }
        state.is_raised = false;
        true
    }

    /// Records that this connection is about to block. Returns `false` if the interrupt was raised.
    fn block(&self, client: Option<u64>) -> bool {
        let mut state = lock(&self.state);
        if state.is_raised {
            state.is_raised = false;
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

/// Returns the time at which the wait ends. If the clock cannot represent that time, the wait ends after a year.
fn end_of(time: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + YEAR)
}

/// A stream, or all global events (`None`), and the sequence after which to wait.
pub(crate) struct StreamCursor<'a> {
    pub(crate) key: Option<&'a StreamKey>,
    pub(crate) after: Sequence,
}

impl BlockingReader {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            connection: Mutex::new((Connection::new(settings), ClientId::default())),
            interrupt: Arc::default(),
        }
    }

    /// Waits at most `patience` for an event of any stream after this sequence. Returns a page of such events; it is
    /// empty if there is none, or if the wait was interrupted.
    pub(crate) fn after(
        &self,
        known: &KnownState,
        after: Sequence,
        limit: PageLimit,
        patience: Duration,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let deadline = end_of(patience);
        let mut held = lock(&self.connection);
        let (connection, client) = &mut *held;
        if !self.recover(connection, deadline) {
            return Ok(Vec::new());
        }
        let query = Query::new(QueryKind::All, after, limit);
        let log = connection.settings().key("log");
        loop {
            if self.interrupt.take() {
                return Ok(Vec::new());
            }
            let page = queries::read(connection, known, &query)?.events;
            let left = deadline.saturating_duration_since(Instant::now());
            if !page.is_empty() || left.is_zero() {
                return Ok(page);
            }
            let streams = [(log.clone(), after)];
            if self.block(connection, client, &streams, left)?.is_none() {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits for an event after one of these cursors. Returns the newest sequence of each stream that has such an
    /// event.
    pub(crate) fn streams(
        &self,
        known: &KnownState,
        cursors: &[StreamCursor<'_>],
        patience: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, StoreError> {
        let deadline = end_of(patience);
        let mut held = lock(&self.connection);
        let (connection, client) = &mut *held;
        if !self.recover(connection, deadline) {
            return Ok(Vec::new());
        }
        let settings = connection.settings();
        let streams: Vec<(Vec<u8>, Sequence)> = cursors
            .iter()
            .map(|place| match place.key {
                Some(key) => (settings.stream(key.as_bytes()), place.after),
                None => (settings.key("every"), place.after),
            })
            .collect();
        loop {
            if self.interrupt.take() {
                return Ok(Vec::new());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(woken) = self.block(connection, client, &streams, left)? else {
                return Ok(Vec::new());
            };
            if !woken.is_empty() {
                // A blocked client is woken for one stream only: the first that a script wrote to.
                let woken = streams_with_entries(connection, &streams)?;
                let of = cursors.iter().zip(&streams);
                let keys = of.filter(|(_, (stream, _))| woken.contains(stream));
                let keys = keys.map(|(place, _)| place.key.copied());
                let query = Query::new(QueryKind::Newest, Sequence::START, PageLimit::default());
                let cursors = queries::read(connection, known, &query.with_keys(keys))?.cursors;
                if !cursors.is_empty() {
                    return Ok(cursors);
                }
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits for the back-off of the connection. Returns `false` when the deadline passes first, or when the wait is
    /// interrupted.
    fn recover(&self, connection: &Connection, deadline: Instant) -> bool {
        let delay = connection.delay();
        if delay.is_zero() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        !self.interrupt.wait(delay.min(left)) && delay <= left
    }

    /// Blocks in Redis for at most one slice. Returns the streams with entries, or `None` if the interrupt was raised
    /// before the wait began.
    fn block(
        &self,
        connection: &mut Connection,
        client: &mut ClientId,
        streams: &[(Vec<u8>, Sequence)],
        left: Duration,
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let response = connection.settings().response_timeout;
        let id = identify(connection, client)?;
        let slice = if id.is_some() {
            SLICE
        } else {
            SLICE_WITHOUT_UNBLOCK
        }
        .min(left);
        let command = xread(streams, Some(slice));
        if !self.interrupt.block(id) {
            return Ok(None);
        }
        let answer = connection.command(&command, slice + response);
        self.interrupt.unblock();
        streams_of(answer?).map(Some)
    }
}

/// Returns the streams that have entries now.
fn streams_with_entries(
    connection: &mut Connection,
    streams: &[(Vec<u8>, Sequence)],
) -> Result<Vec<Vec<u8>>, StoreError> {
    let timeout = connection.settings().response_timeout;
    streams_of(connection.command(&xread(streams, None), timeout)?)
}

fn streams_of(answer: Value) -> Result<Vec<Vec<u8>>, StoreError> {
    let streams = reply::array(answer)?.into_iter();
    streams
        .map(|stream| reply::bytes(reply::array(stream)?.into_iter().next()))
        .collect()
}

/// Returns the id by which another connection can unblock this one, or `None` if the user may not call `CLIENT ID`.
fn identify(connection: &mut Connection, client: &mut ClientId) -> Result<Option<u64>, StoreError> {
    if client.generation == connection.generation()
        && client.generation > 0
        && connection.is_connected()
    {
        return Ok(client.id);
    }
    let mut command = redis::cmd("CLIENT");
    command.arg("ID");
    let timeout = connection.settings().response_timeout;
    let id = match connection.command(&command, timeout) {
        Ok(value) => Some(reply::number(Some(value))?),
        Err(error) if error.kind == StoreErrorKind::Permission => None,
        Err(error) => return Err(error),
    };
    *client = ClientId {
        generation: connection.generation(),
        id,
    };
    Ok(id)
}

/// Builds an `XREAD` of one entry for each stream. `BLOCK 0` would wait for ever, so a slice is at least 1 ms.
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
