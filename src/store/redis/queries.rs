//! Reads pages over a connection. Each is one call of one script: one moment of the log.

use redis::Value;

use crate::{
    log::{batch::StoredEvent, event::StreamKey},
    store::{
        PageLimit, StoredStream,
        redis::{
            connection::Link,
            error::Fault,
            known_state::View,
            reply::{self, Reply},
            scripts::READ,
        },
    },
    wire::id::Sequence,
};

/// What Redis puts into one answer at most, whatever is asked for.
const PAGE_EVENTS_MAX: usize = 1_000_000;
const PAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What is asked of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// Events of every stream after a place.
    All,
    /// Events of some streams after a place.
    Streams,
    /// Opening events of every stream.
    Standing,
    /// Streams that begin before a place.
    Before,
    /// The newest sequence of some streams.
    Newest,
    /// The newest sequence of the log.
    Head,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Streams => "streams",
            Self::Standing => "standing",
            Self::Before => "before",
            Self::Newest => "newest",
            Self::Head => "head",
        }
    }
}

/// A question, equal to another when one answer serves both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) what: What,
    pub(crate) place: Sequence,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// `None` stands for every stream.
    pub(crate) keys: Vec<Option<StreamKey>>,
}

#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) head: Sequence,
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) streams: Vec<StoredStream>,
    pub(crate) places: Vec<(Option<StreamKey>, Sequence)>,
}

impl Ask {
    pub(crate) fn new(what: What, place: Sequence, limit: PageLimit) -> Self {
        Self {
            what,
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

/// Asks, again and again where one call only looked through a part.
pub(crate) fn read(link: &mut Link, view: &View, ask: &Ask) -> Result<Answer, Fault> {
    let mut place = ask.place;
    loop {
        let (answer, next) = read_once(link, view, ask, place)?;
        match next {
            Some(next) if answer.events.is_empty() => place = next,
            _ => return Ok(answer),
        }
    }
}

fn read_once(
    link: &mut Link,
    view: &View,
    ask: &Ask,
    place: Sequence,
) -> Result<(Answer, Option<Sequence>), Fault> {
    let mut command = link.script(&READ, 5 + ask.keys.len(), 64 * ask.keys.len());
    command
        .arg(view.known().epoch)
        .arg(ask.what.word())
        .arg(place.get())
        .arg(ask.events)
        .arg(ask.bytes);
    for key in &ask.keys {
        command.arg(key.as_ref().map_or(&[][..], StreamKey::as_bytes));
    }
    let mut reply = Reply::read(link.call(&READ, &command)?)?;
    view.read(&reply.news)?;
    let next = match reply.number()? {
        0 => None,
        next => Some(Sequence::new(next)),
    };
    let found = reply.list()?.into_iter();
    let mut answer = Answer {
        head: Sequence::new(reply.news.head),
        ..Answer::default()
    };
    match ask.what {
        What::Before => answer.streams = found.map(reply::stream).collect::<Result<_, _>>()?,
        What::Newest => answer.places = found.map(reply::place).collect::<Result<_, _>>()?,
        What::All | What::Streams | What::Standing | What::Head => {
            answer.events = found.map(event).collect::<Result<_, _>>()?;
        }
    }
    Ok((answer, next))
}

fn event(value: Value) -> Result<StoredEvent, Fault> {
    reply::event(value).map(|(event, _)| event)
}
