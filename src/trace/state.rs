//! What is known of one trace at a glance: kept up to date by the worker, read by the list of traces. Pure.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::{
    span::{
        event::SpanKind,
        json::{self, clip},
    },
    util::{
        hash::{Map, Set},
        time::Timestamp,
    },
    wire::id::EventId,
};

/// Services listed with a trace.
const SERVICES_MAX: usize = 16;
/// Linked traces remembered with a trace.
const LINKS_MAX: usize = 64;
/// Bytes of a name or a service that are remembered; longer ones are known by their beginning.
const TEXT_BYTES_MAX: usize = 1024;
/// Lost spans of a trace that are remembered, so that their real end replaces the lost one.
const LOST_MAX: usize = 65_536;

/// What changed about one span, as the worker saw it.
#[derive(Clone, Debug)]
pub(crate) struct SpanChange {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) time: Timestamp,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    Started(SpanStart),
    Ended {
        start: SpanStart,
        outcome: SpanOutcome,
    },
    Waiting(bool),
    Other,
}

/// What a span's start says, which its end repeats.
#[derive(Clone, Debug)]
pub(crate) struct SpanStart {
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) kind: SpanKind,
    pub(crate) start_time: Timestamp,
    pub(crate) links: Box<[[u8; 16]]>,
}

impl SpanStart {
    /// The part of a name or a service that is remembered.
    pub(crate) fn text(text: &str) -> &str {
        clip(text, TEXT_BYTES_MAX).0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOutcome {
    Ok,
    Error,
    Cancelled,
    Lost,
}

/// What is known of one span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanPhase {
    Running,
    Waiting,
    /// It ended, or was never seen.
    Closed,
    /// The log ended it for its program.
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
    Cancelled,
    Lost,
}

/// One trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) first: u64,
    pub(crate) last: u64,
    root: Option<Root>,
    open: OpenSpans,
    waiting: SmallSpanSet,
    lost: SmallSpanSet,
    pub(crate) total: u64,
    pub(crate) ended: u64,
    pub(crate) errors: u64,
    start: Option<Timestamp>,
    newest: Timestamp,
    end: Timestamp,
    /// Most traces have one service.
    service: Option<Service>,
    rare: Option<Box<Rare>>,
}

/// What few traces have.
#[derive(Clone, Debug, Default)]
struct Rare {
    services: Vec<Service>,
    links: Vec<[u8; 16]>,
}

#[derive(Clone, Debug)]
struct Root {
    span_id: [u8; 8],
    name: Arc<str>,
    service: Arc<str>,
    kind: SpanKind,
    rank: Rank,
    start: Timestamp,
    outcome: Option<SpanOutcome>,
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

/// Open spans, each with its parent. Where one is open at a time, as in a trace of one span, nothing is allocated.
#[derive(Clone, Debug, Default)]
struct OpenSpans {
    one: Option<OpenSpan>,
    others: Option<Box<Parents>>,
}

type OpenSpan = ([u8; 8], Option<[u8; 8]>);
type Parents = Map<[u8; 8], Option<[u8; 8]>>;

impl OpenSpans {
    /// Whether it was not there.
    fn insert(&mut self, span: [u8; 8], parent: Option<[u8; 8]>) -> bool {
        match self.one {
            Some((one, _)) if one == span => {
                self.one = Some((span, parent));
                false
            }
            None if !self.is_other(span) => {
                self.one = Some((span, parent));
                true
            }
            _ => {
                let others = self.others.get_or_insert_default();
                others.insert(span, parent).is_none()
            }
        }
    }

    /// Whether it was there.
    fn remove(&mut self, span: [u8; 8]) -> bool {
        if self.one.is_some_and(|(one, _)| one == span) {
            self.one = None;
            return true;
        }
        let others = self.others.as_mut();
        others.is_some_and(|others| others.remove(&span).is_some())
    }

    fn is_other(&self, span: [u8; 8]) -> bool {
        let others = self.others.as_ref();
        others.is_some_and(|others| others.contains_key(&span))
    }

    fn contains(&self, span: [u8; 8]) -> bool {
        self.one.is_some_and(|(one, _)| one == span) || self.is_other(span)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        let others = self.others.as_ref().map_or(0, |others| others.len());
        usize::from(self.one.is_some()) + others
    }

    fn iter(&self) -> impl Iterator<Item = OpenSpan> {
        let others = self.others.iter().flat_map(|others| others.iter());
        let others = others.map(|(span, parent)| (*span, *parent));
        self.one.into_iter().chain(others)
    }
}

impl Root {
    fn is_genuine(&self) -> bool {
        self.rank > Rank::StandIn
    }
}

/// A set that in most traces is empty, and small as long as it is.
#[derive(Clone, Debug, Default)]
struct SmallSpanSet(Option<Box<Set<[u8; 8]>>>);

impl SmallSpanSet {
    fn insert(&mut self, span: [u8; 8]) {
        self.0.get_or_insert_default().insert(span);
    }

    /// Whether it was there.
    fn remove(&mut self, span: [u8; 8]) -> bool {
        self.0.as_mut().is_some_and(|set| set.remove(&span))
    }

    fn contains(&self, span: [u8; 8]) -> bool {
        self.0.as_ref().is_some_and(|set| set.contains(&span))
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A service's share in a trace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    #[serde(serialize_with = "shared")]
    pub(crate) name: Arc<str>,
    spans: u64,
    errors: u64,
}

impl Service {
    fn is_named(&self, name: &Arc<str>) -> bool {
        // Names are interned, so that most are the same one.
        Arc::ptr_eq(&self.name, name) || self.name == *name
    }
}

impl Trace {
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            last: first,
            root: None,
            open: OpenSpans::default(),
            waiting: SmallSpanSet::default(),
            lost: SmallSpanSet::default(),
            total: 0,
            ended: 0,
            errors: 0,
            start: None,
            newest: Timestamp::default(),
            end: Timestamp::default(),
            service: None,
            rare: None,
        }
    }

    /// Lets go of what hangs on it, because it is not needed any more.
    pub(crate) fn clear(&mut self) {
        self.root = None;
        self.open = OpenSpans::default();
        self.waiting = SmallSpanSet::default();
        self.lost = SmallSpanSet::default();
        self.service = None;
        self.rare = None;
    }

    pub(crate) fn apply(&mut self, change: &SpanChange, sequence: u64) {
        self.last = sequence;
        self.newest = self.newest.max(change.time);
        match &change.kind {
            ChangeKind::Started(start) => {
                if self.lost.remove(change.span_id) {
                    self.reopen(change.span_id, start);
                } else if self.open.insert(change.span_id, start.parent) {
                    self.count_new_span(change.span_id, start);
                }
            }
            ChangeKind::Ended { start, outcome } => self.end(change, start, *outcome),
            ChangeKind::Waiting(true) => {
                // Only an open span is ever taken out again.
                if self.open.contains(change.span_id) {
                    self.waiting.insert(change.span_id);
                }
            }
            ChangeKind::Waiting(false) => {
                self.waiting.remove(change.span_id);
            }
            ChangeKind::Other => {}
        }
    }

    fn end(&mut self, change: &SpanChange, start: &SpanStart, outcome: SpanOutcome) {
        let was_open = self.open.remove(change.span_id);
        let was_lost = self.lost.remove(change.span_id);
        self.waiting.remove(change.span_id);
        if !was_open && !was_lost {
            self.count_new_span(change.span_id, start);
        }
        if was_lost {
            // A lost end is provisional: this one replaces it.
            self.errors = self.errors.saturating_sub(1);
            self.count(&start.service, 0, -1);
        } else {
            self.ended += 1;
        }
        if matches!(outcome, SpanOutcome::Error | SpanOutcome::Lost) {
            self.errors += 1;
            self.count(&start.service, 0, 1);
        }
        if outcome == SpanOutcome::Lost && self.lost.len() < LOST_MAX {
            self.lost.insert(change.span_id);
        }
        self.end = self.end.max(change.time);
        if let Some(root) = self
            .root
            .as_mut()
            .filter(|root| root.span_id == change.span_id)
        {
            root.outcome = Some(outcome);
            root.name.clone_from(&start.name);
        }
    }

    /// A span that was taken for lost runs on: its process had only stood still.
    fn reopen(&mut self, span_id: [u8; 8], start: &SpanStart) {
        self.open.insert(span_id, start.parent);
        self.ended = self.ended.saturating_sub(1);
        self.errors = self.errors.saturating_sub(1);
        self.count(&start.service, 0, -1);
        if let Some(root) = self.root.as_mut().filter(|root| root.span_id == span_id) {
            root.outcome = None;
        }
    }

    /// Counts a span that is seen for the first time.
    fn count_new_span(&mut self, span_id: [u8; 8], start: &SpanStart) {
        self.total += 1;
        self.start = Some(
            self.start
                .map_or(start.start_time, |earliest| earliest.min(start.start_time)),
        );
        self.count(&start.service, 1, 0);
        for link in &*start.links {
            let links = &mut self.rare.get_or_insert_default().links;
            if links.len() < LINKS_MAX && !links.contains(link) {
                links.push(*link);
            }
        }
        let rank = match start.parent {
            None => Rank::Root,
            Some(_) if start.parent_remote => Rank::Remote,
            Some(_) => Rank::StandIn,
        };
        let better = self.root.as_ref().is_none_or(|root| {
            rank > root.rank
                || (rank == root.rank && rank > Rank::StandIn && start.start_time < root.start)
        });
        if better {
            self.root = Some(Root {
                span_id,
                name: Arc::clone(&start.name),
                service: Arc::clone(&start.service),
                kind: start.kind,
                rank,
                start: start.start_time,
                outcome: None,
            });
        }
    }

    /// Counts spans and errors of a service; beyond the bound on services nothing is counted.
    fn count(&mut self, name: &Arc<str>, spans: i64, errors: i64) {
        let more = self.rare.iter_mut().flat_map(|more| &mut more.services);
        let mut all = self.service.iter_mut().chain(more);
        if let Some(service) = all.find(|one| one.is_named(name)) {
            service.spans = service.spans.saturating_add_signed(spans);
            service.errors = service.errors.saturating_add_signed(errors);
            return;
        }
        let service = Service {
            name: Arc::clone(name),
            spans: 0_u64.saturating_add_signed(spans),
            errors: 0_u64.saturating_add_signed(errors),
        };
        if self.service.is_none() {
            self.service = Some(service);
        } else if self.services().count() < SERVICES_MAX {
            self.rare.get_or_insert_default().services.push(service);
        }
    }

    /// In the order in which they were met.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        let more = self.rare.iter().flat_map(|more| &more.services);
        self.service.iter().chain(more)
    }

    pub(crate) fn is_linked_to(&self, trace_id: &[u8; 16]) -> bool {
        let more = self.rare.as_ref();
        more.is_some_and(|more| more.links.contains(trace_id))
    }

    pub(crate) fn span_phase(&self, span: [u8; 8]) -> SpanPhase {
        if self.lost.contains(span) {
            SpanPhase::Lost
        } else if !self.open.contains(span) {
            SpanPhase::Closed
        } else if self.waiting.contains(span) {
            SpanPhase::Waiting
        } else {
            SpanPhase::Running
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether every open span waits: for a time or an event, or for an open span below it.
    fn is_waiting(&self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let parents: Set<[u8; 8]> = self.open.iter().filter_map(|(_, parent)| parent).collect();
        self.open
            .iter()
            .all(|(span, _)| self.waiting.contains(span) || parents.contains(&span))
    }

    /// Whether the root and everything below it has ended.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_open()
            && self
                .root
                .as_ref()
                .is_some_and(|root| root.is_genuine() && root.outcome.is_some())
    }

    pub(crate) fn state(&self) -> TraceState {
        if self.is_open() {
            return if self.is_waiting() {
                TraceState::Waiting
            } else {
                TraceState::Running
            };
        }
        let root = self
            .root
            .as_ref()
            .filter(|root| root.is_genuine())
            .and_then(|root| root.outcome);
        match root {
            Some(SpanOutcome::Error) => TraceState::Error,
            Some(SpanOutcome::Cancelled) => TraceState::Cancelled,
            Some(SpanOutcome::Lost) => TraceState::Lost,
            None if !self.lost.is_empty() => TraceState::Lost,
            None if self.errors > 0 => TraceState::Error,
            Some(SpanOutcome::Ok) | None => TraceState::Ok,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.root.as_ref().map_or("", |root| &*root.name)
    }

    pub(crate) fn service_name(&self) -> &str {
        self.root.as_ref().map_or("", |root| &*root.service)
    }

    pub(crate) fn kind(&self) -> SpanKind {
        self.root
            .as_ref()
            .map_or(SpanKind::Internal, |root| root.kind)
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
            kind: json::kind_name(self.kind()),
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
            services: self.services().cloned().collect(),
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
    kind: &'static str,
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

fn shared<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Milliseconds with the nanoseconds as decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53 nanoseconds, which is 104 days"
)]
pub(crate) fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn hex<const N: usize>(bytes: &[u8; N]) -> String {
    let mut digits = Vec::with_capacity(2 * bytes.len());
    json::hex(&mut digits, bytes);
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::wire::id::Sequence;

    /// Changes of one trace, made by hand: spans are numbered, times are seconds.
    pub(crate) struct TraceChanges {
        pub(crate) trace: u8,
    }

    impl TraceChanges {
        fn change(&self, span: u8, time: u64, kind: ChangeKind) -> SpanChange {
            let time = Timestamp::from_nanos(time * 1_000_000_000);
            SpanChange {
                trace_id: [self.trace; 16],
                span_id: [span; 8],
                time,
                kind,
            }
        }

        fn span_start(span: u8, parent: Option<u8>, start: u64) -> SpanStart {
            SpanStart {
                parent: parent.map(|parent| [parent; 8]),
                parent_remote: false,
                name: format!("span{span}").into(),
                service: "shop".into(),
                kind: SpanKind::Internal,
                start_time: Timestamp::from_nanos(start * 1_000_000_000),
                links: Box::default(),
            }
        }

        pub(crate) fn started(&self, span: u8, parent: Option<u8>, time: u64) -> SpanChange {
            self.change(
                span,
                time,
                ChangeKind::Started(Self::span_start(span, parent, time)),
            )
        }

        pub(crate) fn ended(
            &self,
            span: u8,
            parent: Option<u8>,
            times: [u64; 2],
            outcome: SpanOutcome,
        ) -> SpanChange {
            let [start, end] = times;
            let start = Self::span_start(span, parent, start);
            self.change(span, end, ChangeKind::Ended { start, outcome })
        }

        fn waiting(&self, span: u8, time: u64, waits: bool) -> SpanChange {
            self.change(span, time, ChangeKind::Waiting(waits))
        }
    }

    const CHANGE: TraceChanges = TraceChanges { trace: 1 };

    fn remote(mut change: SpanChange) -> SpanChange {
        match &mut change.kind {
            ChangeKind::Started(start) | ChangeKind::Ended { start, .. } => {
                start.parent_remote = true;
            }
            ChangeKind::Waiting(_) | ChangeKind::Other => {}
        }
        change
    }

    fn trace(changes: impl IntoIterator<Item = SpanChange>) -> Trace {
        let mut trace = Trace::new(1);
        for (change, sequence) in changes.into_iter().zip(1..) {
            trace.apply(&change, sequence);
        }
        trace
    }

    fn summary(trace: &Trace) -> Json {
        let id = |sequence| EventId::new("k3x9q2a7".parse().unwrap(), Sequence::new(sequence));
        serde_json::to_value(trace.summary([1; 16], id)).unwrap()
    }

    #[test]
    fn a_trace_runs_until_its_last_span_ends_and_then_is_as_its_root() {
        use SpanOutcome::{Error, Lost, Ok};
        let open = [CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)];
        let cases = [
            (
                [
                    CHANGE.ended(2, Some(1), [11, 12], Ok),
                    CHANGE.ended(1, None, [10, 13], Ok),
                ],
                TraceState::Ok,
            ),
            (
                [
                    CHANGE.ended(2, Some(1), [11, 12], Error),
                    CHANGE.ended(1, None, [10, 13], Ok),
                ],
                TraceState::Ok,
            ),
            (
                [
                    CHANGE.ended(2, Some(1), [11, 12], Ok),
                    CHANGE.ended(1, None, [10, 13], Error),
                ],
                TraceState::Error,
            ),
            (
                [
                    CHANGE.ended(1, None, [10, 12], Error),
                    CHANGE.ended(2, Some(1), [11, 13], Ok),
                ],
                TraceState::Error,
            ),
            (
                [
                    CHANGE.ended(2, Some(1), [11, 12], Ok),
                    CHANGE.ended(1, None, [10, 13], Lost),
                ],
                TraceState::Lost,
            ),
        ];
        for (ends, expected) in cases {
            let mut trace = trace(open.clone());
            assert_eq!(
                (trace.state(), trace.is_complete()),
                (TraceState::Running, false)
            );
            for (end, sequence) in ends.iter().zip(3..) {
                assert!(!trace.is_complete());
                assert_eq!(trace.state(), TraceState::Running);
                trace.apply(end, sequence);
            }
            assert_eq!(
                (trace.state(), trace.is_complete(), trace.is_open()),
                (expected, true, false)
            );
        }
    }

    #[test]
    fn a_trace_waits_when_all_its_open_spans_wait() {
        let mut trace = trace([CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)]);
        assert_eq!(trace.state(), TraceState::Running);
        // The root is open only because its child is.
        trace.apply(&CHANGE.waiting(2, 12, true), 3);
        assert_eq!(trace.state(), TraceState::Waiting);
        trace.apply(&CHANGE.started(3, Some(1), 13), 4);
        assert_eq!(trace.state(), TraceState::Running, "another child works");
        trace.apply(&CHANGE.ended(3, Some(1), [13, 14], SpanOutcome::Ok), 5);
        trace.apply(&CHANGE.waiting(2, 14, false), 6);
        assert_eq!(trace.state(), TraceState::Running);
        trace.apply(&CHANGE.waiting(1, 15, true), 7);
        trace.apply(&CHANGE.ended(2, Some(1), [11, 15], SpanOutcome::Ok), 8);
        assert_eq!(trace.state(), TraceState::Waiting);
        trace.apply(&CHANGE.ended(1, None, [10, 16], SpanOutcome::Ok), 9);
        assert_eq!(trace.state(), TraceState::Ok);
        assert!(
            trace.waiting.is_empty() && trace.open.is_empty(),
            "{trace:?}"
        );
    }

    #[test]
    fn a_state_of_a_span_that_is_not_open_leaves_nothing_behind() {
        let ended = CHANGE.ended(1, None, [10, 11], SpanOutcome::Ok);
        let trace = trace([
            CHANGE.waiting(9, 9, true),
            CHANGE.started(1, None, 10),
            ended,
            CHANGE.waiting(1, 12, true),
        ]);
        assert_eq!(trace.state(), TraceState::Ok);
        assert!(trace.waiting.is_empty(), "nothing would ever take it out");
    }

    #[test]
    fn a_real_end_replaces_a_lost_one() {
        let lost = [
            CHANGE.started(1, None, 10),
            CHANGE.ended(1, None, [10, 11], SpanOutcome::Lost),
        ];
        let mut one = trace(lost.clone());
        assert_eq!(one.state(), TraceState::Lost);
        assert_eq!(
            summary(&one)["spans"],
            json!({"total": 1, "open": 0, "errors": 1, "lost": 1})
        );
        one.apply(&CHANGE.ended(1, None, [10, 12], SpanOutcome::Ok), 3);
        assert_eq!((one.state(), one.ended), (TraceState::Ok, 1));
        assert_eq!(
            summary(&one)["spans"],
            json!({"total": 1, "open": 0, "errors": 0, "lost": 0})
        );
        assert_eq!(
            summary(&one)["services"],
            json!([{"name": "shop", "spans": 1, "errors": 0}])
        );
        let failed = [CHANGE.ended(1, None, [10, 12], SpanOutcome::Error)];
        let other = trace(lost.into_iter().chain(failed));
        assert_eq!((other.state(), other.errors), (TraceState::Error, 1));
    }

    #[test]
    fn a_start_that_is_told_twice_counts_once() {
        let trace = trace([
            CHANGE.started(1, None, 10),
            CHANGE.started(1, None, 10),
            CHANGE.ended(1, None, [10, 11], SpanOutcome::Ok),
        ]);
        assert_eq!(
            summary(&trace)["spans"],
            json!({"total": 1, "open": 0, "errors": 0, "lost": 0})
        );
        assert_eq!(trace.ended, 1);
    }

    #[test]
    fn an_end_whose_start_was_dropped_is_a_whole_span() {
        let trace = trace([
            CHANGE.ended(2, Some(1), [11, 12], SpanOutcome::Ok),
            CHANGE.ended(1, None, [10, 13], SpanOutcome::Ok),
        ]);
        assert_eq!(
            (trace.name(), trace.state(), trace.is_complete()),
            ("span1", TraceState::Ok, true)
        );
        assert_eq!(trace.duration_nanos(Timestamp::default()), 3_000_000_000);
    }

    #[test]
    fn the_root_is_the_span_without_a_parent_whatever_comes_first() {
        let child = || CHANGE.started(2, Some(1), 11);
        let from_afar = || remote(CHANGE.started(3, Some(9), 9));
        let root = || CHANGE.started(1, None, 10);
        let cases = [
            (vec![child()], "span2", Json::Null),
            (
                vec![child(), from_afar()],
                "span3",
                json!("0303030303030303"),
            ),
            (
                vec![child(), from_afar(), root()],
                "span1",
                json!("0101010101010101"),
            ),
            // The clock of another process is behind ours, so its span seems to start before its parent.
            (
                vec![root(), from_afar(), child()],
                "span1",
                json!("0101010101010101"),
            ),
            (
                vec![CHANGE.started(4, None, 12), root()],
                "span1",
                json!("0101010101010101"),
            ),
            (
                vec![root(), CHANGE.started(4, None, 12)],
                "span1",
                json!("0101010101010101"),
            ),
        ];
        for (changes, name, root) in cases {
            let trace = trace(changes);
            assert_eq!(
                (trace.name(), &summary(&trace)["rootSpanId"]),
                (name, &root)
            );
        }
    }

    #[test]
    fn a_summary_says_everything() {
        let mut whole = trace([CHANGE.started(1, None, 10), CHANGE.started(2, Some(1), 11)]);
        let mut expected = json!({
            "traceId": "01010101010101010101010101010101", "name": "span1", "service": "shop", "kind": "INTERNAL", "state": "running",
            "rootSpanId": "0101010101010101", "startTimestamp": "1970-01-01T00:00:10.000000000Z",
            "endTimestamp": null, "lastTimestamp": "1970-01-01T00:00:11.000000000Z", "durationMs": null,
            "spans": {"total": 2, "open": 2, "errors": 0, "lost": 0},
            "services": [{"name": "shop", "spans": 2, "errors": 0}],
            "firstId": "k3x9q2a7-1", "lastId": "k3x9q2a7-2",
        });
        assert_eq!(summary(&whole), expected);
        whole.apply(&CHANGE.ended(2, Some(1), [11, 12], SpanOutcome::Error), 5);
        whole.apply(&CHANGE.ended(1, None, [10, 14], SpanOutcome::Ok), 9);
        for (key, value) in [
            ("state", json!("ok")),
            ("endTimestamp", json!("1970-01-01T00:00:14.000000000Z")),
            ("lastTimestamp", json!("1970-01-01T00:00:14.000000000Z")),
            ("durationMs", json!(4000.0)),
            (
                "spans",
                json!({"total": 2, "open": 0, "errors": 1, "lost": 0}),
            ),
            (
                "services",
                json!([{"name": "shop", "spans": 2, "errors": 1}]),
            ),
            ("lastId", json!("k3x9q2a7-9")),
        ] {
            expected[key] = value;
        }
        assert_eq!(summary(&whole), expected);
    }

    #[test]
    fn what_a_trace_remembers_is_bounded() {
        let mut trace = Trace::new(1);
        for number in 0..100_000_u64 {
            let mut start = TraceChanges::span_start(1, Some(1), 10);
            start.service = format!("service{number}").into();
            start.links = Box::new([u128::from(number).to_be_bytes()]);
            let kind = ChangeKind::Ended {
                start,
                outcome: SpanOutcome::Lost,
            };
            let change = SpanChange {
                span_id: number.to_be_bytes(),
                ..CHANGE.change(1, 11, kind)
            };
            trace.apply(&change, number + 1);
        }
        assert_eq!(
            (trace.total, trace.ended, trace.errors),
            (100_000, 100_000, 100_000)
        );
        let links = trace.rare.as_ref().map_or(0, |more| more.links.len());
        let remembered = (trace.services().count(), links, trace.lost.len());
        assert_eq!(remembered, (SERVICES_MAX, LINKS_MAX, LOST_MAX));
        assert_eq!(
            SpanStart::text(&"é".repeat(10_000)),
            "é".repeat(TEXT_BYTES_MAX / 2)
        );
    }

    #[test]
    fn clocks_that_go_back_are_no_overflow() {
        let trace = trace([
            CHANGE.started(1, None, 100),
            CHANGE.ended(1, None, [100, 50], SpanOutcome::Ok),
        ]);
        assert_eq!(trace.duration_nanos(Timestamp::default()), 0);
        assert_eq!(
            summary(&trace)["endTimestamp"],
            json!("1970-01-01T00:01:40.000000000Z")
        );
    }
}
