//! Reads a trace before any of its events is written, in one or more passes. It selects the event that represents each
//! span, counts the elements of each list, and finds the processes that worked on the trace. It keeps no event. It runs
//! on the task that writes the response.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    access::projection,
    http::{
        routes::trace_snapshot::{
            latest::{Latest, LatestBuilder, SPANS_AT_ONCE, SpanEventKind, SpanName},
            read::{Loss, TraceEvent, TraceEvents},
        },
        task_body::{BodyFailed, BodyWriter},
    },
    span::event::{SpanId, TraceId},
    trace::{
        parse,
        stored::StoredTrace,
        summary::{EvictedParts, Summary},
    },
    wire::{control, id::EventId},
};

/// The number of pages after which the output so far is sent, so that the client of a large trace gets its first byte
/// early.
const PAGES_OF_SILENCE: u64 = 256;

/// The trace to be written, and its reader's limits.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) trace: TraceId,
    pub(super) events: TraceEvents,
    /// The events of the trace that retention has evicted.
    pub(super) evicted: Option<EvictedParts>,
    /// The summary in the index; `None` if it must be computed from the events.
    pub(super) summary: Option<Summary>,
    /// The traces that the reader may read; `None` means all.
    pub(super) within: Option<Arc<HashSet<TraceId>>>,
}

impl Snapshot {
    /// Returns the event as its reader may see it: without links to traces that the reader may not
    /// read.
    pub(super) fn narrowed<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let narrowed = self
            .within
            .as_deref()
            .and_then(|within| projection::without_foreign_links(payload, within));
        narrowed.map_or(Cow::Borrowed(payload), Cow::Owned)
    }
}

/// The result of the passes over a trace that precede its output.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) latest: Latest,
    pub(super) log_records: u64,
    /// The number of all events, even those in no list.
    pub(super) events: u64,
    pub(super) fold: StoredTrace,
    /// The events that were lost while the trace was read.
    pub(super) loss: Option<Loss>,
    processes: ProcessCounts,
}

/// The number of `process` events of each process, and the processes that worked on the trace.
#[derive(Debug, Default)]
struct ProcessCounts {
    announced: HashMap<String, u64>,
    working: HashSet<String>,
}

impl Overview {
    pub(super) async fn read(
        snapshot: &Snapshot,
        body: &mut BodyWriter,
    ) -> Result<Self, BodyFailed> {
        let mut builder = LatestBuilder::new(SPANS_AT_ONCE);
        let mut processes = ProcessCounts::default();
        let mut fold = StoredTrace::default();
        let (mut log_records, mut damaged) = (0, 0);
        let mut first_pass = None;
        loop {
            let mut pages = snapshot.events.pages();
            let mut count = 0;
            while let Some(page) = pages.next().await {
                pages.read(&page, |event| {
                    if let Some(kind) = SpanEventKind::of(event.name, event.payload) {
                        builder.add(event.sequence, kind, span_name(event.payload));
                    }
                    if first_pass.is_some() {
                        return;
                    }
                    log_records += u64::from(event.name == "log");
                    damaged += u64::from(control::is_damaged(event.name, event.payload));
                    processes.add(&event);
                    if snapshot.summary.is_none() {
                        fold.add(event.sequence, event.payload, snapshot.trace.to_bytes());
                    }
                });
                drop(page);
                count += 1;
                if count % PAGES_OF_SILENCE == 0 {
                    body.send().await?;
                }
            }
            let (events, loss) = first_pass.get_or_insert((pages.events(), pages.loss()));
            if *events != pages.events() {
                // Events that are missing in a later pass were present in the first pass.
                *loss = Some(pages.loss_of(*events));
            }
            if !builder.end_pass() {
                break;
            }
        }
        let (events, loss) = first_pass.unwrap_or_default();
        Ok(Self {
            latest: builder.finish(),
            log_records,
            events,
            fold,
            loss: loss.or((damaged > 0).then_some(Loss::Damaged { lost: damaged })),
            processes,
        })
    }

    pub(super) fn summary(
        &self,
        snapshot: &Snapshot,
        to_id: impl Fn(u64) -> EventId,
    ) -> Option<Summary> {
        let folded = || {
            let trace = self.fold.trace()?;
            Some(trace.summary(snapshot.trace.to_bytes(), to_id))
        };
        let summary = snapshot.summary.clone().or_else(folded);
        summary.map(|summary| summary.with_evicted(snapshot.evicted))
    }

    /// Returns the number of `process` events that the reader gets.
    pub(super) fn process_events(&self, snapshot: &Snapshot) -> u64 {
        let announced = self.processes.announced.iter();
        announced
            .filter(|(process, _)| snapshot.within.is_none() || self.is_working(process))
            .map(|(_, events)| events)
            .sum()
    }

    /// Returns whether the reader gets this `process` event. A reader of some traces gets only the processes that
    /// worked on this one.
    pub(super) fn shows_process(&self, snapshot: &Snapshot, payload: &[u8]) -> bool {
        snapshot.within.is_none()
            || projection::process(payload).is_some_and(|process| self.is_working(&process))
    }

    pub(super) fn is_working(&self, process: &str) -> bool {
        self.processes.working.contains(process)
    }
}

impl ProcessCounts {
    fn add(&mut self, event: &TraceEvent<'_>) {
        let process = projection::process(event.payload).unwrap_or_default();
        if event.name == "process" {
            *self.announced.entry(process.into_owned()).or_default() += 1;
        } else if !self.working.contains(&*process) {
            self.working.insert(process.into_owned());
        }
    }
}

/// Returns the id of the event's span as a number.
pub(super) fn span_of(payload: &[u8]) -> u64 {
    let span = parse::span_id(payload).map(SpanId::to_bytes);
    u64::from_be_bytes(span.unwrap_or_default())
}

/// Returns the identity of the event's span.
fn span_name(payload: &[u8]) -> SpanName {
    SpanName {
        id: span_of(payload),
        origin: parse::origin_of(payload),
    }
}
