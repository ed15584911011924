//! The state of one trace: its root, open spans, counts and services. The worker thread applies
//! each change of a span; the tasks of requests read it. Bounded: services, links and lost spans
//! are stored up to a limit. Pure.

mod inside;
pub(in crate::trace) mod open_spans;
mod root;
mod service;
mod trace_state;

use std::sync::Arc;

use crate::{
    log::retention::EvictedEvents,
    span::{event::SpanKind, progress::SpanProgress, updates::Awaiting},
    trace::{
        operations::table::OperationId,
        span_change::{AwaitPoint, ChangeKind, SpanChange, SpanOutcome, SpanStart, SpanUpdate},
        state::{
            inside::InsideOfSpans,
            open_spans::{OpenEntry, OpenSpans, Opened, SmallSpanSet},
            root::{Rank, Root},
        },
    },
    util::{hash::Set, time::Timestamp},
};

pub(in crate::trace) use self::root::TraceError;
pub(crate) use self::service::Service;
pub use self::trace_state::TraceState;

/// Upper bound on the stored services of a trace.
const SERVICES_MAX: usize = 16;
/// Upper bound on the stored links of a trace to other traces.
const LINKS_MAX: usize = 64;
/// Upper bound on the open ancestors of a span that are searched for a cycle of parents.
const DEPTH_MAX: usize = 64;
/// Upper bound on the stored lost spans of a trace. If a lost span was not stored, its real end is
/// counted as that of another span.
const LOST_MAX: usize = 65_536;

/// The phase of one span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanPhase {
    Running,
    Waiting,
    /// The span ended, or was never seen.
    Closed,
    /// The log itself ended the span, because the span's own end can no longer arrive.
    Lost,
}

/// Whether a change opened or closed a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunningChange {
    None,
    Opened,
    /// A span was closed that counted as running in this operation.
    Closed(OperationId),
}

/// One trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(super) root: Option<Root>,
    pub(super) open: OpenSpans,
    pub(super) waiting: SmallSpanSet,
    pub(super) lost: SmallSpanSet,
    pub(crate) total: u64,
    pub(crate) ended: u64,
    /// Ended spans that failed, panicked or were lost. [`errors`](Self::errors) also counts open
    /// spans.
    ended_errors: u64,
    /// The earliest start time of its spans. For an ended span, the start time in its end event counts; for an open
    /// span, the time of its start event.
    pub(super) start: Option<Timestamp>,
    /// The earliest start of the ended spans, whose start times are final.
    ended_start: Option<Timestamp>,
    pub(super) newest: Timestamp,
    pub(super) end: Timestamp,
    /// Most traces have one service.
    pub(super) service: Option<Service>,
    pub(super) extras: Option<Box<TraceExtras>>,
}

/// Fields that few traces need.
#[derive(Clone, Debug, Default)]
pub(super) struct TraceExtras {
    pub(super) services: Vec<Service>,
    pub(super) links: Vec<[u8; 16]>,
    evicted: EvictedEvents,
    inside: InsideOfSpans,
    /// Spans that are treated as ended because the part of the trace with their ends was not read.
    assumed_ended: SmallSpanSet,
    error: Option<TraceError>,
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
            ended_errors: 0,
            start: None,
            ended_start: None,
            newest: Timestamp::default(),
            end: Timestamp::default(),
            service: None,
            extras: None,
        }
    }

    /// Frees the memory of the trace's parts when the trace is gone.
    pub(crate) fn clear(&mut self) {
        self.root = None;
        self.open = OpenSpans::default();
        self.waiting = SmallSpanSet::default();
        self.lost = SmallSpanSet::default();
        self.service = None;
        self.extras = None;
    }

    pub(crate) fn apply(&mut self, change: &SpanChange, sequence: u64) {
        self.apply_counted(change, sequence, OperationId::NONE);
    }

    /// Applies a change. Returns whether it opened or closed a span. An opened span counts as
    /// running in this operation.
    pub(super) fn apply_counted(
        &mut self,
        change: &SpanChange,
        sequence: u64,
        operation: OperationId,
    ) -> RunningChange {
        self.last = sequence;
        self.newest = self.newest.max(change.time);
        match &change.kind {
            ChangeKind::Started(start) => {
                let was_lost = self.lost.remove(change.span_id);
                if was_lost {
                    self.reopen(change.span_id, start);
                }
                let entry = OpenEntry::of(start).counted_in(operation);
                if self.open.insert(change.span_id, entry) == Opened::Again {
                    return RunningChange::None;
                }
                if !was_lost {
                    self.count_new_span(change.span_id, start);
                    self.record_progress(change.span_id, sequence, start.progress.as_deref());
                }
                return RunningChange::Opened;
            }
            ChangeKind::Ended {
                start,
                outcome,
                message,
            } => {
                let closed = self.end(change, start, *outcome);
                self.record_error(change.span_id, &start.name, message.as_deref());
                self.end_inside(change.span_id, sequence, (start, *outcome));
                if let Some(closed) = closed {
                    return RunningChange::Closed(closed.operation);
                }
            }
            // An update of a span that is not open changes only `last` and `newest`.
            ChangeKind::Updated(update) if self.open.contains(change.span_id) => {
                self.update(change.span_id, sequence, update);
            }
            ChangeKind::Updated(_) | ChangeKind::Log(_) | ChangeKind::Other => {}
        }
        RunningChange::None
    }

    fn update(&mut self, span_id: [u8; 8], sequence: u64, update: &SpanUpdate) {
        match update.waits {
            // Only the end of the span, or an update with another state, removes it from the set.
            Some(true) => self.waiting.insert(span_id),
            Some(false) => drop(self.waiting.remove(span_id)),
            None => {}
        }
        if let Some(root) = self.root.as_mut().filter(|root| root.span_id == span_id) {
            root.update(update);
        }
        self.record_progress(span_id, sequence, update.progress.as_deref());
        let root = self.root_id();
        if let Some(fails) = update.fails {
            let inside = &mut self.extras.get_or_insert_default().inside;
            inside.set_failing(span_id, fails);
        }
        if update.awaiting != Awaiting::Unchanged {
            let inside = &mut self.extras.get_or_insert_default().inside;
            inside.set_awaiting(span_id, root, &update.awaiting);
        }
    }

    /// Stores the first error that has a message. A later end of the same span replaces that error,
    /// or removes it if the later end has no message.
    fn record_error(&mut self, span_id: [u8; 8], name: &Arc<str>, message: Option<&str>) {
        let known = self
            .extras
            .as_ref()
            .and_then(|extras| extras.error.as_ref());
        if known.is_some_and(|known| known.span_id != span_id) || (known, message) == (None, None) {
            return;
        }
        self.extras.get_or_insert_default().error = message.map(|message| TraceError {
            span_id,
            name: Arc::clone(name),
            message: message.into(),
        });
    }

    /// Returns the first error that has a message.
    pub(in crate::trace) fn error(&self) -> Option<&TraceError> {
        self.extras.as_ref()?.error.as_ref()
    }

    fn record_progress(
        &mut self,
        span_id: [u8; 8],
        sequence: u64,
        progress: Option<&SpanProgress>,
    ) {
        let root = self.root_id();
        if let Some(progress) = progress {
            let inside = &mut self.extras.get_or_insert_default().inside;
            inside.progress(span_id, root, (sequence, progress));
        }
    }

    fn end_inside(
        &mut self,
        span_id: [u8; 8],
        sequence: u64,
        (end, outcome): (&SpanStart, SpanOutcome),
    ) {
        let is_root = self.root_id() == Some(span_id);
        // A lost end may lack the updates of the span. The progress stored here is then newer.
        if is_root && outcome != SpanOutcome::Lost {
            self.record_progress(span_id, sequence, end.progress.as_deref());
        }
        if let Some(extras) = self
            .extras
            .as_mut()
            .filter(|_| !self.open.contains(span_id))
        {
            extras.inside.end(span_id, is_root);
        }
    }

    fn root_id(&self) -> Option<[u8; 8]> {
        self.root.as_ref().map(|root| root.span_id)
    }

    /// Returns the number of failed spans: ended ones, and open ones whose updates report a
    /// failure.
    pub(crate) fn errors(&self) -> u64 {
        let extras = self.extras.as_ref();
        self.ended_errors + extras.map_or(0, |extras| extras.inside.failing())
    }

    /// Returns the progress of the root, even after its end. If the root has none, returns the progress of the open
    /// span that reported progress last.
    pub(crate) fn progress(&self) -> Option<&SpanProgress> {
        let inside = &self.extras.as_ref()?.inside;
        inside.shown_progress(self.root_id(), |span| self.open.contains(span))
    }

    /// Returns the longest-lasting await point of an open span.
    pub(crate) fn awaiting(&self) -> Option<&AwaitPoint> {
        self.extras.as_ref()?.inside.longest_await()
    }

    /// Applies the end of a span. Returns the span's entry if it was open.
    fn end(
        &mut self,
        change: &SpanChange,
        start: &SpanStart,
        outcome: SpanOutcome,
    ) -> Option<OpenEntry> {
        let opened = self.open.remove(change.span_id, &OpenEntry::of(start));
        let was_lost = self.lost.remove(change.span_id);
        let was_assumed = opened.is_none() && self.was_assumed_ended(change.span_id);
        self.waiting.remove(change.span_id);
        if opened.is_none() && !was_lost && !was_assumed {
            self.count_new_span(change.span_id, start);
        } else {
            self.add_links(start);
        }
        if was_lost {
            // A lost end is provisional, and this end replaces it.
            self.ended_errors = self.ended_errors.saturating_sub(1);
            self.count(&start.service, 0, -1);
        } else if !was_assumed {
            self.ended += 1;
        }
        if matches!(
            outcome,
            SpanOutcome::Error | SpanOutcome::Panicked | SpanOutcome::Lost
        ) {
            self.ended_errors += 1;
            self.count(&start.service, 0, 1);
        }
        if outcome == SpanOutcome::Lost && self.lost.len() < LOST_MAX {
            self.lost.insert(change.span_id);
        }
        self.end = self.end.max(change.time);
        self.set_final_start(opened, start.start_time);
        if opened.is_some_and(|opened| start.start_time < opened.start) {
            self.consider_root(change.span_id, start);
        }
        self.end_root(change.span_id, start, outcome);
        opened
    }

    /// Applies the start time that a span's end reports. It replaces the time that the span's start reported. Usually
    /// the new time is not later, so the earliest start of the trace can only become earlier.
    fn set_final_start(&mut self, opened: Option<OpenEntry>, start: Timestamp) {
        self.ended_start = Some(earlier(self.ended_start, start));
        self.start = match (self.start, opened) {
            (Some(earliest), Some(opened)) if opened.start == earliest && earliest < start => {
                // This span was the first, and it started later than recorded. Only in this case
                // must all open spans be examined.
                let open = self.open.iter().map(|(_, span)| span.start);
                open.chain(self.ended_start).min()
            }
            (earliest, _) => Some(earlier(earliest, start)),
        };
    }

    /// Updates the root from an end event, if the span is the root.
    fn end_root(&mut self, span_id: [u8; 8], start: &SpanStart, outcome: SpanOutcome) {
        let root = self.root.as_mut().filter(|root| {
            root.span_id == span_id && (root.parent, root.kind) == (start.parent, start.kind)
        });
        if let Some(root) = root {
            root.end(start, outcome);
        }
    }

    /// Reopens a span that was ended as lost although its process was only suspended.
    fn reopen(&mut self, span_id: [u8; 8], start: &SpanStart) {
        self.ended = self.ended.saturating_sub(1);
        self.ended_errors = self.ended_errors.saturating_sub(1);
        self.count(&start.service, 0, -1);
        if let Some(root) = self.root.as_mut().filter(|root| root.span_id == span_id) {
            root.outcome = None;
        }
    }

    /// Counts a span that is seen for the first time.
    fn count_new_span(&mut self, span_id: [u8; 8], start: &SpanStart) {
        self.total += 1;
        self.start = Some(earlier(self.start, start.start_time));
        self.count(&start.service, 1, 0);
        self.add_links(start);
        self.consider_root(span_id, start);
    }

    /// Stores the links to other traces. An end also has the links that were added after the start.
    fn add_links(&mut self, span: &SpanStart) {
        for link in &*span.links {
            let links = &mut self.extras.get_or_insert_default().links;
            if links.len() < LINKS_MAX && !links.contains(link) {
                links.push(*link);
            }
        }
    }

    /// Makes the span the root if it is a better root than the current one.
    fn consider_root(&mut self, span_id: [u8; 8], start: &SpanStart) {
        let rank = Rank::of(start);
        let is_better = self.root.as_ref().is_none_or(|root| {
            if rank != root.rank {
                rank > root.rank
            } else if root.parent == Some(span_id) {
                // The root's parent has now been seen. In a cycle of parents, the span that started first stays the
                // root.
                start.start_time < root.start || !self.is_below(start.parent, root.span_id)
            } else {
                start.start_time < root.start && !self.is_known(start.parent)
            }
        });
        if is_better {
            self.root = Some(Root::of(span_id, start));
        }
    }

    /// Returns whether a span of this trace is known to have this id: an open one, or the root.
    fn is_known(&self, span: Option<[u8; 8]>) -> bool {
        let is_root = |span| self.root.as_ref().is_some_and(|root| root.span_id == span);
        span.is_some_and(|span| self.open.contains(span) || is_root(span))
    }

    /// Returns whether `ancestor` is the span itself or one of its ancestors. Only open spans are
    /// followed. Also returns `true` after [`DEPTH_MAX`] steps.
    fn is_below(&self, span: Option<[u8; 8]>, ancestor: [u8; 8]) -> bool {
        let mut above = span;
        for _ in 0..DEPTH_MAX {
            match above {
                Some(span) if span == ancestor => return true,
                Some(span) => above = self.open.parent(span),
                None => return false,
            }
        }
        true
    }

    /// Forgets open spans that share their id with another one, because a rebuilt index may have
    /// missed their end. Returns the operations in which they counted as running.
    pub(super) fn forget_twins(&mut self) -> impl Iterator<Item = OperationId> + use<> {
        let twins = self.open.forget_twins().into_iter();
        twins.map(|(_, twin)| twin.operation)
    }

    /// Returns whether the span was treated as ended, and stops treating it so.
    fn was_assumed_ended(&mut self, span_id: [u8; 8]) -> bool {
        let extras = self.extras.as_mut();
        extras.is_some_and(|extras| extras.assumed_ended.remove(span_id))
    }

    /// Returns the spans that are open.
    pub(crate) fn open_spans(&self) -> impl Iterator<Item = [u8; 8]> {
        self.open.iter().map(|(span, _)| span)
    }

    /// Returns whether the root has ended.
    pub(crate) fn has_root_ended(&self) -> bool {
        let root = self.root.as_ref();
        root.is_some_and(|root| root.outcome.is_some() && !self.open.contains(root.span_id))
    }

    /// Treats these open spans as ended: their ends are in a part of the trace that was not read.
    /// If an end arrives all the same, it is not counted again. Returns the operations in which the
    /// spans counted as running.
    pub(crate) fn assume_ended(&mut self, spans: &[[u8; 8]]) -> Vec<OperationId> {
        let mut running = Vec::new();
        for span in spans {
            let Some(closed) = self.open.take(*span) else {
                continue;
            };
            self.waiting.remove(*span);
            self.ended += 1;
            let is_root = self.root_id() == Some(*span);
            let extras = self.extras.get_or_insert_default();
            extras.inside.end(*span, is_root);
            extras.assumed_ended.insert(*span);
            running.push(closed.operation);
        }
        running
    }

    /// Returns the operations in which the trace's open spans count as running.
    pub(super) fn running_in(&self) -> impl Iterator<Item = OperationId> {
        self.open.iter().map(|(_, span)| span.operation)
    }

    /// Adds to the counts of spans and errors of a service. Services beyond the bound are not
    /// counted.
    fn count(&mut self, name: &Arc<str>, spans: i64, errors: i64) {
        let more = self.extras.iter_mut().flat_map(|more| &mut more.services);
        let mut all = self.service.iter_mut().chain(more);
        if let Some(service) = all.find(|one| one.is_named(name)) {
            service.count(spans, errors);
            return;
        }
        let mut service = Service::new(name);
        service.count(spans, errors);
        if self.service.is_none() {
            self.service = Some(service);
        } else if self.services().count() < SERVICES_MAX {
            self.extras.get_or_insert_default().services.push(service);
        }
    }

    /// Returns how many events retention has removed from the trace.
    pub(crate) fn evicted(&self) -> EvictedEvents {
        self.extras
            .as_ref()
            .map_or_else(EvictedEvents::default, |more| more.evicted)
    }

    pub(crate) fn set_evicted(&mut self, evicted: EvictedEvents) {
        self.extras.get_or_insert_default().evicted = evicted;
    }

    /// Returns the services in the order in which they were first seen.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        let more = self.extras.iter().flat_map(|more| &more.services);
        self.service.iter().chain(more)
    }

    pub(crate) fn is_linked_to(&self, trace_id: &[u8; 16]) -> bool {
        let more = self.extras.as_ref();
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

    /// Returns whether every open span waits for a time, an event, or an open span below it.
    fn is_waiting(&self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let parents: Set<[u8; 8]> = self
            .open
            .iter()
            .filter_map(|(_, span)| span.parent)
            .collect();
        self.open
            .iter()
            .all(|(span, _)| self.waiting.contains(span) || parents.contains(&span))
    }

    /// Returns whether the root and everything below it have ended.
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
            Some(SpanOutcome::Panicked) => TraceState::Panicked,
            Some(SpanOutcome::Cancelled) => TraceState::Cancelled,
            Some(SpanOutcome::Lost) => TraceState::Lost,
            None if !self.lost.is_empty() => TraceState::Lost,
            None if self.ended_errors > 0 => TraceState::Error,
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

    /// Returns the duration of the trace, until `now` if it is open.
    pub(crate) fn duration_nanos(&self, now: Timestamp) -> u64 {
        let start = self.start.unwrap_or(self.newest);
        let end = if self.is_open() { now } else { self.end };
        end.nanos().saturating_sub(start.nanos())
    }
}

fn earlier(known: Option<Timestamp>, time: Timestamp) -> Timestamp {
    known.map_or(time, |known| known.min(time))
}

#[cfg(test)]
pub(crate) mod tests;
