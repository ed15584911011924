//! Reads pages of the log. Each page is one script call, so it shows one moment of the log. It runs on the threads of
//! the read pool, and on the thread that waits for events of other processes.

use redis::Value;

use crate::{
    log::{batch::StoredEvent, event::StreamKey},
    store::{
        PageLimit, StoredStream,
        redis::{
            client::{
                connection::Connection,
                error::StoreError,
                reply::{self, Reply},
                scripts::READ,
            },
            known_state::KnownState,
        },
    },
    wire::id::Sequence,
};

/// Upper bounds of one reply, regardless of the caller's limits.
const PAGE_EVENTS_MAX: usize = 1_000_000;
const PAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The kind of data that a query reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueryKind {
    /// Events of all streams after a sequence.
    All,
    /// Events of some streams after a sequence.
    Streams,
    /// Open global events.
    Standing,
    /// Streams that begin before a sequence.
    Before,
    /// The newest sequence of some streams.
    Newest,
    /// The number of removed events of some streams.
    Evicted,
    /// The newest sequence of the log.
    Head,
}

impl QueryKind {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Streams => "streams",
            Self::Standing => "standing",
            Self::Before => "before",
            Self::Newest => "newest",
            Self::Evicted => "evicted",
            Self::Head => "head",
        }
    }
}

/// A query. Two queries are equal when one result serves both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    pub(crate) kind: QueryKind,
    pub(crate) place: Sequence,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// `None` stands for global events.
    pub(crate) keys: Vec<Option<StreamKey>>,
}

#[derive(Debug, Default)]
pub(crate) struct QueryResult {
    pub(crate) head: Sequence,
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) streams: Vec<StoredStream>,
    /// For each stream, its newest sequence, or the number of its removed events.
    pub(crate) cursors: Vec<(Option<StreamKey>, Sequence)>,
}

impl Query {
    pub(crate) fn new(kind: QueryKind, place: Sequence, limit: PageLimit) -> Self {
        Self {
            kind,
            place,
            events: limit.events.clamp(1, PAGE_EVENTS_MAX),
            bytes: limit.bytes.min(PAGE_BYTES_MAX),
            keys: Vec::new(),
        }
    }

    pub(crate) fn with_keys(self, keys: impl Iterator<Item = Option<StreamKey>>) -> Self {
        let keys = keys.collect();
        Self { keys, ..self }
    }
}

/// Runs a query. Continues with further calls while a call ends early and has found nothing.
pub(crate) fn read(
    connection: &mut Connection,
    known: &KnownState,
    query: &Query,
) -> Result<QueryResult, StoreError> {
    let mut place = query.place;
    loop {
        let (answer, next) = read_once(connection, known, query, place)?;
        match next {
            Some(next) if answer.events.is_empty() => place = next,
            _ => return Ok(answer),
        }
    }
}

fn read_once(
    connection: &mut Connection,
    known: &KnownState,
    query: &Query,
    place: Sequence,
) -> Result<(QueryResult, Option<Sequence>), StoreError> {
    let mut command = connection.script(&READ, 5 + query.keys.len(), 64 * query.keys.len());
    command
        .arg(known.snapshot().epoch)
        .arg(query.kind.word())
        .arg(place.get())
        .arg(query.events)
        .arg(query.bytes);
    for key in &query.keys {
        command.arg(key.as_ref().map_or(&[][..], StreamKey::as_bytes));
    }
    let mut reply = Reply::read(connection.call(&READ, &command)?)?;
    known.apply_read_reply(&reply.state)?;
    let next = match reply.number()? {
        0 => None,
        next => Some(Sequence::new(next)),
    };
    let found = reply.list()?.into_iter();
    let mut answer = QueryResult {
        head: Sequence::new(reply.state.head),
        ..QueryResult::default()
    };
    match query.kind {
        QueryKind::Before => {
            let streams = found.filter_map(|stream| reply::stream(stream).transpose());
            answer.streams = streams.collect::<Result<_, _>>()?;
        }
        QueryKind::Newest | QueryKind::Evicted => {
            answer.cursors = found.map(reply::place).collect::<Result<_, _>>()?;
        }
        QueryKind::All | QueryKind::Streams | QueryKind::Standing | QueryKind::Head => {
            answer.events = found.map(event).collect::<Result<_, _>>()?;
        }
    }
    Ok((answer, next))
}

fn event(value: Value) -> Result<StoredEvent, StoreError> {
    reply::event(value).map(|(event, _)| event)
}
