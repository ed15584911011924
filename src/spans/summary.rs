//! What is known of one trace at a glance: kept up to date by the worker, read by the list of traces. Pure.

use std::collections::HashSet;

use serde::Serialize;

use crate::{
    spans::{event::SpanKind, json::clip},
    sse::id::EventId,
    time::Timestamp,
};

/// Services listed with a trace.
const SERVICES_MAX: usize = 16;
/// Linked traces remembered with a trace.
const LINKS_MAX: usize = 64;
/// Bytes of a name or a service that are remembered; longer ones are known by their beginning.
const TEXT_BYTES_MAX: usize = 1024;
/// Lost spans of a trace that are remembered, so that their real end replaces the lost one.
const LOST_MAX: usize = 65_536;

/// One fact about a span, as the worker saw it.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) time: Timestamp,
    pub(crate) change: Change,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Started(Box<Begun>),
    Ended { begun: Box<Begun>, outcome: Outcome },
    Waiting(bool),
    Other,
}

/// What a span's start says, which its end repeats.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) kind: SpanKind,
    pub(crate) start: Timestamp,
    pub(crate) links: Vec<[u8; 16]>,
}

impl Begun {
    /// The part of a name or a service that is remembered.
    pub(crate) fn text(text: &str) -> String {
        clip(text, TEXT_BYTES_MAX).0.to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    Lost,
}

/// The state of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TraceState {
    Running,
    Waiting,
    Ok,
    Error,
    Lost,
}

/// One trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) first: u64,
    pub(crate) last: u64,
    root: Option<Root>,
    open: HashSet<[u8; 8]>,
    waiting: HashSet<[u8; 8]>,
    lost: HashSet<[u8; 8]>,
    pub(crate) total: u64,
    pub(crate) ended: u64,
    pub(crate) errors: u64,
    start: Option<Timestamp>,
    newest: Timestamp,
    end: Timestamp,
    pub(crate) services: Vec<Service>,
    pub(crate) links: Vec<[u8; 16]>,
}

#[derive(Clone, Debug)]
struct Root {
    span_id: [u8; 8],
    name: String,
    service: String,
    kind: SpanKind,
    rank: Rank,
    start: Timestamp,
    outcome: Option<Outcome>,
}

/// How good a root a span is: of two with the same rank the one that started first, of stand-ins the one seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its parent is of this process and not seen yet.
    StandIn,
    /// Its parent is in another process. That one's clock may be ahead, so its start does not compare with `Root`.
    Remote,
    /// It has no parent.
    Root,
}

impl Root {
    fn is_genuine(&self) -> bool {
        self.rank > Rank::StandIn
    }
}

/// A service's share in a trace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    spans: u64,
    errors: u64,
}

impl Trace {
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            last: first,
            root: None,
            open: HashSet::new(),
            waiting: HashSet::new(),
            lost: HashSet::new(),
            total: 0,
            ended: 0,
            errors: 0,
            start: None,
            newest: Timestamp::default(),
            end: Timestamp::default(),
            services: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, fact: &Fact, sequence: u64) {
        self.last = sequence;
        self.newest = self.newest.max(fact.time);
        match &fact.change {
            Change::Started(begun) => {
                if self.open.insert(fact.span_id) {
                    self.meet(fact.span_id, begun);
                }
            }
            Change::Ended { begun, outcome } => self.end(fact, begun, *outcome),
            Change::Waiting(true) => {
                // Only an open span is ever taken out again.
                if self.open.contains(&fact.span_id) {
                    self.waiting.insert(fact.span_id);
                }
            }
            Change::Waiting(false) => {
                self.waiting.remove(&fact.span_id);
            }
            Change::Other => {}
        }
    }

    fn end(&mut self, fact: &Fact, begun: &Begun, outcome: Outcome) {
        let was_open = self.open.remove(&fact.span_id);
        let was_lost = self.lost.remove(&fact.span_id);
        self.waiting.remove(&fact.span_id);
        if !was_open && !was_lost {
            self.meet(fact.span_id, begun);
        }
        if was_lost {
            // A lost end is provisional: this one replaces it.
            self.errors = self.errors.saturating_sub(1);
            self.count(&begun.service, 0, -1);
        } else {
            self.ended += 1;
        }
        if outcome != Outcome::Ok {
            self.errors += 1;
            self.count(&begun.service, 0, 1);
        }
        if outcome == Outcome::Lost && self.lost.len() < LOST_MAX {
            self.lost.insert(fact.span_id);
        }
        self.end = self.end.max(fact.time);
        if let Some(root) = self.root.as_mut().filter(|root| root.span_id == fact.span_id) {
            root.outcome = Some(outcome);
            root.name.clone_from(&begun.name);
        }
    }

    /// Counts a span that is seen for the first time.
    fn meet(&mut self, span_id: [u8; 8], begun: &Begun) {
        self.total += 1;
        self.start = Some(self.start.map_or(begun.start, |start| start.min(begun.start)));
        self.count(&begun.service, 1, 0);
        for link in &begun.links {
            if self.links.len() < LINKS_MAX && !self.links.contains(link) {
                self.links.push(*link);
            }
        }
        let rank = match begun.parent {
            None => Rank::Root,
            Some(_) if begun.parent_remote => Rank::Remote,
            Some(_) => Rank::StandIn,
        };
        let better = self.root.as_ref().is_none_or(|root| {
            rank > root.rank || (rank == root.rank && rank > Rank::StandIn && begun.start < root.start)
        });
        if better {
            self.root = Some(Root {
                span_id,
                name: begun.name.clone(),
                service: begun.service.clone(),
                kind: begun.kind,
                rank,
                start: begun.start,
                outcome: None,
            });
        }
    }

    /// Counts spans and errors of a service; beyond the bound on services nothing is counted.
    fn count(&mut self, name: &str, spans: i64, errors: i64) {
        if !self.services.iter().any(|service| service.name == name) {
            if self.services.len() >= SERVICES_MAX {
                return;
            }
            self.services.push(Service { name: name.to_owned(), spans: 0, errors: 0 });
        }
        if let Some(service) = self.services.iter_mut().find(|service| service.name == name) {
            service.spans = service.spans.saturating_add_signed(spans);
            service.errors = service.errors.saturating_add_signed(errors);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether the root and everything below it has ended.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_open() && self.root.as_ref().is_some_and(|root| root.is_genuine() && root.outcome.is_some())
    }

    pub(crate) fn state(&self) -> TraceState {
        if self.is_open() {
            let all_wait = self.open.iter().all(|span| self.waiting.contains(span));
            return if all_wait { TraceState::Waiting } else { TraceState::Running };
        }
        let root = self.root.as_ref().filter(|root| root.is_genuine()).and_then(|root| root.outcome);
        match root {
            Some(Outcome::Error) => TraceState::Error,
            Some(Outcome::Lost) => TraceState::Lost,
            None if !self.lost.is_empty() => TraceState::Lost,
            None if self.errors > 0 => TraceState::Error,
            Some(Outcome::Ok) | None => TraceState::Ok,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.root.as_ref().map_or("", |root| &root.name)
    }

    pub(crate) fn service_name(&self) -> &str {
        self.root.as_ref().map_or("", |root| &root.service)
    }

    pub(crate) fn kind(&self) -> SpanKind {
        self.root.as_ref().map_or(SpanKind::Internal, |root| root.kind)
    }

    /// How long the trace took, or has taken until `now`.
    pub(crate) fn duration_nanos(&self, now: Timestamp) -> u64 {
        let start = self.start.unwrap_or(self.newest);
        let end = if self.is_open() { now } else { self.end };
        end.nanos().saturating_sub(start.nanos())
    }

    pub(crate) fn summary(&self, trace_id: [u8; 16], id: impl Fn(u64) -> EventId) -> Summary {
        let open = self.is_open();
        let root = self.root.as_ref().filter(|root| root.is_genuine());
        let duration = self.duration_nanos(self.end);
        Summary {
            trace_id: hex(&trace_id),
            name: self.name().to_owned(),
            service: self.service_name().to_owned(),
            state: self.state(),
            root_span_id: root.map(|root| hex(&root.span_id)),
            start_timestamp: self.start.unwrap_or(self.newest).text(),
            end_timestamp: (!open).then(|| self.end.max(self.start.unwrap_or_default()).text()),
            last_timestamp: self.newest.text(),
            duration_ms: (!open).then_some(milliseconds(duration)),
            spans: SpanCounts {
                total: self.total,
                open: self.open.len() as u64,
                errors: self.errors,
                lost: self.lost.len() as u64,
            },
            services: self.services.clone(),
            first_id: id(self.first).to_string(),
            last_id: id(self.last).to_string(),
        }
    }
}

/// A trace in the list of traces.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    trace_id: String,
    name: String,
    service: String,
    state: TraceState,
    root_span_id: Option<String>,
    start_timestamp: String,
    end_timestamp: Option<String>,
    last_timestamp: String,
    duration_ms: Option<f64>,
    spans: SpanCounts,
    services: Vec<Service>,
    first_id: String,
    last_id: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SpanCounts {
    total: u64,
    open: u64,
    errors: u64,
    lost: u64,
}

/// Milliseconds with the nanoseconds as decimals.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 nanoseconds, which is 104 days")]
pub(crate) fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

