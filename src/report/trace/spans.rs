//! The spans of one trace, built from its events up to a point in time. Bounded. Pure, except for
//! [`TraceSpans::read`], which runs on the task of a request.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    live_spans::LiveSpans,
    report::{
        event_fields::{EventText, ReportFields},
        running::span_now::{SpanNow, SpanNowBuilder},
        trace_events::{ReadBudget, ReadResult, ReportEvent, read_trace},
    },
    span::{
        event::{SpanId, TraceId},
        json::clip,
    },
    trace::{index::open_now::OpenSpanEntry, parse},
    util::{
        hash::{Map, Set},
        time::Timestamp,
    },
};

/// Upper bound on the spans that are held; about 200 bytes each.
pub(crate) const SPANS_MAX: usize = 200_000;
/// Upper bound on the bytes of a name and of a message.
const NAME_BYTES_MAX: usize = 256;
/// OpenTelemetry's lowest severity number of an error.
const SEVERITY_ERROR: u8 = 17;

/// The point in time at which the trace is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Moment {
    #[default]
    Now,
    /// After the event with this sequence.
    Event(u64),
    Time(Timestamp),
    /// This many nanoseconds after the first start.
    Offset(u64),
}

/// One span.
#[derive(Debug)]
pub(crate) struct TraceSpan {
    pub(crate) id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) start: Timestamp,
    /// The end time; `None` while the span is open.
    pub(crate) end: Option<Timestamp>,
    pub(crate) outcome: ShownState,
    /// The message of the status in which the span ended.
    pub(crate) message: Option<Box<str>>,
    pub(crate) logs: u32,
    pub(crate) error_logs: u32,
    /// The sequence of the span's last event: its end, or its start.
    pub(crate) sequence: u64,
    /// The state that the updates of an open span have reported.
    updates: Option<Box<SpanNowBuilder>>,
}

/// The state of a span: open, or the state in which it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShownState {
    Open,
    Ok,
    Error,
    Panicked,
    Cancelled,
    Lost,
}

/// The spans of a trace at one point in time.
#[derive(Debug)]
pub(crate) struct TraceSpans {
    pub(crate) id: TraceId,
    /// The spans in log order.
    pub(crate) spans: Vec<TraceSpan>,
    by_id: Map<[u8; 8], usize>,
    names: Set<Arc<str>>,
    /// The point in time that is shown.
    pub(crate) at: Timestamp,
    /// The number of spans beyond [`SPANS_MAX`].
    pub(crate) left_out: u64,
    pub(crate) logs: u64,
    pub(crate) result: ReadResult,
    /// The number of events that retention has removed.
    pub(crate) evicted: u64,
    first_start: Option<Timestamp>,
}

impl TraceSpans {
    /// Reads a trace as it was at this point in time. Returns `None` if the log has no span of the trace up to then.
    pub(crate) async fn read(live: &LiveSpans, id: TraceId, moment: Moment) -> Option<Self> {
        let log = live.log();
        let head = log.head();
        let upto = match moment {
            Moment::Event(sequence) => sequence.min(head),
            Moment::Now | Moment::Time(_) | Moment::Offset(_) => head,
        };
        let mut spans = Self::new(id);
        let mut last = Timestamp::default();
        let mut budget = ReadBudget::for_one_trace();
        let result = read_trace(log, id.to_bytes(), upto, &mut budget, |event| {
            if matches!(moment, Moment::Event(_)) {
                last = last.max(parse::timestamp(event.payload).unwrap_or_default());
            }
            spans.add(&event, moment);
        });
        spans.result = result.await;
        spans.at = match moment {
            Moment::Now => Timestamp::now(),
            Moment::Event(_) => last,
            Moment::Time(time) => time,
            Moment::Offset(nanos) => later(spans.start(), nanos),
        };
        let evicted = log.evicted(id.stream_key()).await;
        spans.evicted = evicted.map_or(0, |evicted| evicted.events);
        spans.names = Set::default();
        (!spans.spans.is_empty()).then_some(spans)
    }

    fn new(id: TraceId) -> Self {
        Self {
            id,
            spans: Vec::new(),
            by_id: Map::default(),
            names: Set::default(),
            at: Timestamp::default(),
            left_out: 0,
            logs: 0,
            result: ReadResult::Whole,
            evicted: 0,
            first_start: None,
        }
    }

    /// Adds the next event of the trace, unless the event is later than `moment`.
    fn add(&mut self, event: &ReportEvent<'_>, moment: Moment) {
        let Some(id) = parse::span_id(event.payload).map(SpanId::to_bytes) else {
            return;
        };
        let until = match moment {
            Moment::Time(time) => Some(time),
            Moment::Offset(nanos) => self.first_start.map(|start| later(start, nanos)),
            Moment::Now | Moment::Event(_) => None,
        };
        let is_late = |until| parse::timestamp(event.payload).is_some_and(|time| time > until);
        if until.is_some_and(is_late) {
            return;
        }
        if event.name == "log" {
            self.logs += 1;
        }
        let Some(fields) = ReportFields::of(event.payload) else {
            return;
        };
        match event.name {
            "started" => self.start_span(id, &fields, event.sequence),
            "ended" => self.end_span(id, &fields, event.sequence),
            "updated" | "log" => self.add_update(id, &fields, event),
            _ => {}
        }
    }

    fn start_span(&mut self, id: [u8; 8], fields: &ReportFields<'_>, sequence: u64) {
        let start = fields.time().unwrap_or_default();
        let known = self
            .by_id
            .get(&id)
            .and_then(|index| self.spans.get_mut(*index));
        if let Some(span) = known
            && matches!(span.outcome, ShownState::Open | ShownState::Lost)
        {
            // Either an open span's start is repeated, or the span was wrongly ended as lost: its process had only been
            // suspended.
            span.outcome = ShownState::Open;
            span.end = None;
            return;
        }
        self.insert(id, fields, start, sequence);
    }

    fn end_span(&mut self, id: [u8; 8], fields: &ReportFields<'_>, sequence: u64) {
        let end = fields.time().unwrap_or_default();
        let start = fields.start_timestamp.as_ref().and_then(EventText::time);
        let name = self.interned(fields.name.as_ref());
        let known = self.by_id.get(&id).copied();
        let is_open =
            |span: &&mut TraceSpan| matches!(span.outcome, ShownState::Open | ShownState::Lost);
        let index = match known {
            Some(index) if self.spans.get_mut(index).as_ref().is_some_and(is_open) => Some(index),
            _ => self.insert(id, fields, start.unwrap_or(end), sequence),
        };
        let Some(span) = index.and_then(|index| self.spans.get_mut(index)) else {
            return;
        };
        span.name = name;
        span.start = start.unwrap_or(span.start);
        span.end = Some(end);
        span.sequence = sequence;
        span.outcome = ShownState::of(fields);
        span.updates = None;
        let message = fields
            .status
            .as_ref()
            .and_then(|status| status.message.as_ref());
        span.message = message.map(|message| clip(&message.0, NAME_BYTES_MAX).0.into());
        self.first_start = Some(
            self.first_start
                .map_or(span.start, |first| first.min(span.start)),
        );
    }

    fn insert(
        &mut self,
        id: [u8; 8],
        fields: &ReportFields<'_>,
        start: Timestamp,
        sequence: u64,
    ) -> Option<usize> {
        self.first_start = Some(self.first_start.map_or(start, |first| first.min(start)));
        if self.spans.len() >= SPANS_MAX {
            self.left_out += 1;
            return None;
        }
        let parent = fields.parent_span_id.as_ref();
        let parent = parent.and_then(|parent| parent.0.parse().ok());
        let index = self.spans.len();
        let span = TraceSpan {
            id,
            parent: parent.map(SpanId::to_bytes),
            name: self.interned(fields.name.as_ref()),
            service: self.interned(fields.service.as_ref()),
            start,
            end: None,
            outcome: ShownState::Open,
            message: None,
            logs: 0,
            error_logs: 0,
            sequence,
            updates: None,
        };
        self.spans.push(span);
        self.by_id.insert(id, index);
        Some(index)
    }

    fn add_update(&mut self, id: [u8; 8], fields: &ReportFields<'_>, event: &ReportEvent<'_>) {
        let index = self.by_id.get(&id).copied();
        let Some(span) = index.and_then(|index| self.spans.get_mut(index)) else {
            return;
        };
        if event.name == "log" {
            span.logs += 1;
            span.error_logs += u32::from(fields.severity_number >= SEVERITY_ERROR);
        }
        if span.outcome == ShownState::Open {
            if let Some(name) = &fields.name {
                span.name = clip(&name.0, NAME_BYTES_MAX).0.into();
            }
            span.updates.get_or_insert_default().add(event);
        }
    }

    fn interned(&mut self, text: Option<&EventText<'_>>) -> Arc<str> {
        let text = text.map_or("", |text| clip(&text.0, NAME_BYTES_MAX).0);
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.names.insert(Arc::clone(&new));
        new
    }

    /// Returns the earliest start.
    pub(crate) fn start(&self) -> Timestamp {
        self.first_start.unwrap_or_default()
    }

    /// Returns the latest end, or the shown point in time if a span is open.
    pub(crate) fn end(&self) -> Timestamp {
        let ends = self.spans.iter().map(|span| span.end.unwrap_or(self.at));
        ends.max().unwrap_or_default()
    }

    /// Returns the root: the first span without a parent, or else the first span.
    pub(crate) fn root(&self) -> Option<&TraceSpan> {
        let mut all = self.spans.iter();
        all.find(|span| span.parent.is_none())
            .or(self.spans.first())
    }

    pub(crate) fn open(&self) -> usize {
        let open = self
            .spans
            .iter()
            .filter(|span| span.outcome == ShownState::Open);
        open.count()
    }

    pub(crate) fn errors(&self) -> usize {
        self.spans
            .iter()
            .filter(|span| span.outcome.is_error())
            .count()
    }

    pub(crate) fn index_of(&self, id: [u8; 8]) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Returns the state of an open span from its updates, or `None` if the span has no updates.
    pub(crate) fn now_of(&self, index: usize) -> Option<SpanNow> {
        let span = self.spans.get(index)?;
        let updates = span.updates.as_deref()?.clone();
        let open = OpenSpanEntry {
            id: span.id,
            parent: span.parent,
            start: span.start,
            waits: false,
        };
        Some(updates.finish(&open, self.at))
    }

    /// Returns the indexes of the spans in tree order, each with its depth: parents come first,
    /// siblings by their start. A span whose parent is missing is at the top.
    pub(crate) fn in_tree_order(&self) -> Vec<(usize, usize)> {
        let mut children: Map<usize, Vec<usize>> = Map::default();
        let mut tops = Vec::new();
        let mut by_start: Vec<usize> = (0..self.spans.len()).collect();
        by_start.sort_by_key(|index| self.spans.get(*index).map(|span| span.start));
        for index in by_start {
            let parent = self.spans.get(index).and_then(|span| span.parent);
            match parent.and_then(|parent| self.index_of(parent)) {
                Some(parent) if parent != index => children.entry(parent).or_default().push(index),
                _ => tops.push(index),
            }
        }
        let mut ordered = Vec::with_capacity(self.spans.len());
        let mut seen = vec![false; self.spans.len()];
        // Spans whose parents form a cycle are below no top span. They come last: the first span of each cycle becomes
        // a top span, and the other spans of the cycle are below it.
        for top in tops.into_iter().chain(0..self.spans.len()) {
            let mut next = vec![(top, 0)];
            while let Some((index, depth)) = next.pop() {
                let Some(seen) = seen.get_mut(index).filter(|seen| !**seen) else {
                    continue;
                };
                *seen = true;
                ordered.push((index, depth));
                let below = children.remove(&index).unwrap_or_default();
                next.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
            }
        }
        ordered
    }
}

impl TraceSpan {
    /// Returns the duration of the span, until `at` if it is open.
    pub(crate) fn nanos(&self, at: Timestamp) -> u64 {
        let end = self.end.unwrap_or(at);
        end.nanos().saturating_sub(self.start.nanos())
    }
}

impl ShownState {
    pub(crate) fn of(fields: &ReportFields<'_>) -> Self {
        let status = fields.status.as_ref();
        if fields.lost.is_some() {
            Self::Lost
        } else if fields.cancelled {
            Self::Cancelled
        } else if fields.panicked {
            Self::Panicked
        } else if status.is_some_and(|status| status.code.0 == "ERROR") {
            Self::Error
        } else {
            Self::Ok
        }
    }

    pub(crate) fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Panicked | Self::Lost)
    }

    /// Returns the word that a text shows for the state. It is empty for an open span and for one that ended without an
    /// error.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open | Self::Ok => "",
            Self::Error => "ERROR",
            Self::Panicked => "PANICKED",
            Self::Cancelled => "cancelled",
            Self::Lost => "LOST",
        }
    }
}

fn later(time: Timestamp, nanos: u64) -> Timestamp {
    Timestamp::from_nanos(time.nanos().saturating_add(nanos))
}
