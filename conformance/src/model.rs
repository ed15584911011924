//! The naive model that every store is compared with: a list of all events that were ever kept, and the open tokens.
//! It has no retention of its own: it permits a store to evict any event before `oldest()` that is not open.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::RangeInclusive,
};

use livespan::store::{Pinning, StoredEvent, StreamKey};

use crate::{
    report::{self, Outcome, Violation, same},
    test_event::TestEvent,
};

/// The scope of a read: everything, or some streams and the events that belong to every stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Streams(Vec<StreamKey>),
}

impl Scope {
    pub(crate) fn wants(&self, event: &StoredEvent) -> bool {
        match self {
            Self::All => true,
            Self::Streams(keys) => event.key.is_none_or(|key| keys.contains(&key)),
        }
    }

    pub(crate) fn show(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Streams(keys) => {
                let names: Vec<String> = keys
                    .iter()
                    .map(|key| key.as_bytes().escape_ascii().to_string())
                    .collect();
                format!("streams [{}]", names.join(", "))
            }
        }
    }
}

/// A token. In a stream, any writer may open and close it. Among the events that belong to every stream, each writer
/// has tokens of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    Stream(StreamKey, u64),
    Writer(Writer, u64),
}

impl Token {
    fn of(test_event: &TestEvent, writer: Writer, token: u64) -> Self {
        match test_event.key {
            Some(key) => Self::Stream(key, token),
            None => Self::Writer(writer, token),
        }
    }
}

/// Identifies a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer(pub(crate) u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    events: BTreeMap<u64, StoredEvent>,
    open: HashMap<Token, u64>,
    /// The newest states of the tokens that are open or abandoned.
    states: HashMap<Token, u64>,
    /// Open events of writers that are gone. A store may keep or evict them.
    abandoned: HashMap<Token, u64>,
    /// The streams that ever had an open token. A store may keep any of their events longer than others.
    opened: HashSet<StreamKey>,
}

impl Model {
    pub(crate) fn append(&mut self, writer: Writer, first: u64, test_events: &[TestEvent]) {
        for (test_event, sequence) in test_events.iter().zip(first..) {
            self.events.insert(sequence, test_event.numbered(sequence));
            match test_event.pin {
                Pinning::Open(token) => {
                    self.opened.extend(test_event.key);
                    let token = Token::of(test_event, writer, token);
                    self.abandoned.remove(&token);
                    self.states.remove(&token);
                    self.open.insert(token, sequence);
                }
                Pinning::Close(token) => {
                    let token = Token::of(test_event, writer, token);
                    self.abandoned.remove(&token);
                    self.states.remove(&token);
                    self.open.remove(&token);
                }
                Pinning::State(token) => {
                    let token = Token::of(test_event, writer, token);
                    let is_open =
                        self.open.contains_key(&token) || self.abandoned.contains_key(&token);
                    if is_open && test_event.key.is_some() {
                        self.states.insert(token, sequence);
                    }
                }
                // `None`, or a variant that a later version of livespan adds.
                _ => {}
            }
        }
    }

    /// Records that every writer is gone.
    pub(crate) fn abandon(&mut self) {
        self.abandoned.extend(self.open.drain());
    }

    pub(crate) fn head(&self) -> u64 {
        self.events.keys().next_back().copied().unwrap_or_default()
    }

    pub(crate) fn event(&self, sequence: u64) -> Option<&StoredEvent> {
        self.events.get(&sequence)
    }

    /// Returns the events in this range of sequences, as they were appended.
    pub(crate) fn events(&self, range: RangeInclusive<u64>, scope: &Scope) -> Vec<StoredEvent> {
        let (from, to) = range.into_inner();
        self.events
            .range(from..)
            .take_while(|(sequence, _)| **sequence <= to)
            .map(|(_, event)| event)
            .filter(|event| scope.wants(event))
            .cloned()
            .collect()
    }

    /// Returns the opening events that are still open, oldest first.
    pub(crate) fn open(&self) -> Vec<StoredEvent> {
        self.all_of(self.open.values())
    }

    pub(crate) fn abandoned(&self) -> Vec<StoredEvent> {
        self.all_of(self.abandoned.values())
    }

    /// Returns the sequences of these opening events and of their states.
    fn with_states(&self, opened: &HashMap<Token, u64>) -> BTreeSet<u64> {
        let states = opened.keys().filter_map(|token| self.states.get(token));
        opened.values().chain(states).copied().collect()
    }

    fn all_of<'a>(&self, sequences: impl Iterator<Item = &'a u64>) -> Vec<StoredEvent> {
        let sequences: BTreeSet<u64> = sequences.copied().collect();
        sequences
            .iter()
            .filter_map(|sequence| self.events.get(sequence).cloned())
            .collect()
    }

    /// Compares the result of a read with the events that the store must return and those that it may return. The read
    /// begins after a sequence and ends at `upto`. `oldest` is the store's `oldest()` before and after the read.
    pub(crate) fn check(&self, read: &Read<'_>, came: &[StoredEvent]) -> Outcome {
        let open = self.with_states(&self.open);
        let abandoned = self.with_states(&self.abandoned);
        let given: BTreeSet<u64> = came.iter().map(|event| event.sequence.get()).collect();
        let (before, after) = read.oldest;
        let expected: Vec<StoredEvent> = self
            .events(read.after + 1..=read.upto, read.scope)
            .into_iter()
            .filter(|event| {
                let sequence = event.sequence.get();
                let must = sequence >= after || open.contains(&sequence);
                let was_open = event.key.is_some_and(|key| self.opened.contains(&key));
                let may = sequence >= before || was_open || abandoned.contains(&sequence);
                must || (may && given.contains(&sequence))
            })
            .collect();
        self.compare(read, &expected, came)
    }

    fn compare(&self, read: &Read<'_>, expected: &[StoredEvent], came: &[StoredEvent]) -> Outcome {
        let wrong = (0..expected.len().max(came.len())).find(|index| {
            match (expected.get(*index), came.get(*index)) {
                (Some(expected), Some(came)) => !is_kept(expected, came),
                _ => true,
            }
        });
        let Some(wrong) = wrong else {
            return Ok(());
        };
        let mut promise = format!(
            "reading {} after {} gives every kept event once, in order and whole (oldest() was {}, then {}); the first \
             difference is at place {wrong}",
            read.scope.show(),
            read.after,
            read.oldest.0,
            read.oldest.1,
        );
        if let (Some(expected), Some(came)) = (expected.get(wrong), came.get(wrong)) {
            promise.push_str(&difference(expected, came));
        } else if let Some(came) = came.get(wrong) {
            promise.push_str(self.why_not(came.sequence.get()));
        }
        Err(Violation::new(
            promise,
            report::events(expected, wrong),
            report::events(came, wrong),
        ))
    }

    fn why_not(&self, sequence: u64) -> &'static str {
        if self.events.contains_key(&sequence) {
            ", an event out of place: it was returned earlier, or is before oldest() and on a stream that was never open"
        } else {
            ", an event that was never kept"
        }
    }
}

/// A read that a store answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) oldest: (u64, u64),
}

/// Returns whether an event came back as it was appended. A read may omit the pin, and may return any line break as LF,
/// because a client gets LF in any case.
pub(crate) fn is_kept(appended: &StoredEvent, came: &StoredEvent) -> bool {
    let StoredEvent {
        sequence,
        name,
        key,
        pin,
        payload,
        ..
    } = came;
    *sequence == appended.sequence
        && *name == appended.name
        && *key == appended.key
        && (*pin == appended.pin || *pin == Pinning::None)
        && (*payload == appended.payload || **payload == line_feeds(&appended.payload))
}

/// Compares the events that `recover_open_events()` returned, oldest first, with those that were left open. A store may
/// omit events that belong to every stream: no log closes such events of another writer.
pub(crate) fn same_abandoned(expected: &[StoredEvent], came: &[StoredEvent]) -> Outcome {
    let given = |event: &&StoredEvent| came.iter().any(|one| one.sequence == event.sequence);
    let expected: Vec<StoredEvent> = expected
        .iter()
        .filter(|event| event.key.is_some() || given(event))
        .cloned()
        .collect();
    same_events(
        "recover_open_events() returns every event of a stream that was left open, with its pin, and no closed event",
        &expected,
        came,
    )
}

/// Compares lists of events, including the pins.
pub(crate) fn same_events(
    promise: impl Into<String>,
    expected: &[StoredEvent],
    came: &[StoredEvent],
) -> Outcome {
    let fits = |(expected, came): (&StoredEvent, &StoredEvent)| {
        is_kept(expected, came) && expected.pin == came.pin
    };
    if expected.len() == came.len() && expected.iter().zip(came).all(fits) {
        return Ok(());
    }
    let show = |events: &[StoredEvent]| report::events(events, 0);
    same(promise, &show(expected), &show(came))
}

fn difference(expected: &StoredEvent, came: &StoredEvent) -> String {
    let at = expected
        .payload
        .iter()
        .zip(&came.payload)
        .position(|(one, other)| one != other);
    match at {
        Some(at) if expected.sequence == came.sequence => format!(
            ", in byte {at} of the payload: {:?} instead of {:?}",
            came.payload.get(at),
            expected.payload.get(at)
        ),
        _ => String::new(),
    }
}

fn line_feeds(payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(payload.len());
    let mut bytes = payload.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
            text.push(b'\n');
        } else {
            text.push(byte);
        }
    }
    text
}
