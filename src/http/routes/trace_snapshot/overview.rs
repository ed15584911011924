//! What there is in a trace, found out before any of it is written: which events count, how many there are of each list, and
//! which processes worked on it. It holds no event.

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
        task_body::{BodyWriter, ClientGone},
    },
    span::event::{SpanId, TraceId},
    trace::{
        parse,
        stored::StoredTrace,
        summary::{EvictedParts, Summary},
    },
    wire::{control, id::EventId},
};

/// Pages after which what was written already is sent, so that a client waits for a large trace but not for its first byte.
const PAGES_OF_SILENCE: u64 = 256;

/// What is to be written, and for whom.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) trace: TraceId,
    pub(super) events: TraceEvents,
    /// What retention has let go of it.
    pub(super) evicted: Option<EvictedParts>,
    /// What the index says of it; `None` where only its events do.
    pub(super) summary: Option<Summary>,
    /// The traces that the reader may read; `None`: all.
    pub(super) within: Option<Arc<HashSet<TraceId>>>,
}

impl Snapshot {
    /// The event as the reader may see it: without links to traces that it may not read.
    pub(super) fn narrowed<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let narrowed = self
            .within
            .as_deref()
            .and_then(|within| projection::without_foreign_links(payload, within));
        narrowed.map_or(Cow::Borrowed(payload), Cow::Owned)
    }
}

/// What there is in a trace.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) latest: Latest,
    pub(super) log_records: u64,
    /// All events, those that no list shows as well.
    pub(super) events: u64,
    pub(super) fold: StoredTrace,
    /// What was lost of the trace while it was read.
    pub(super) loss: Option<Loss>,
    processes: ProcessCounts,
}

/// The `process` events by process, and the processes that worked on the trace.
#[derive(Debug, Default)]
struct ProcessCounts {
    announced: HashMap<String, u64>,
    working: HashSet<String>,
}

impl Overview {
    pub(super) async fn read(
        snapshot: &Snapshot,
        body: &mut BodyWriter,
    ) -> Result<Self, ClientGone> {
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
                // What is missing in a later pass was there in the first.
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

    /// The number of `process` events that the reader gets.
    pub(super) fn process_events(&self, snapshot: &Snapshot) -> u64 {
        let announced = self.processes.announced.iter();
        announced
            .filter(|(process, _)| snapshot.within.is_none() || self.is_working(process))
            .map(|(_, events)| events)
            .sum()
    }

    /// Whether the reader gets this `process` event: one of some traces learns of the processes that worked on this one.
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

/// The span that an event is about, as a number.
pub(super) fn span_of(payload: &[u8]) -> u64 {
    let span = parse::span_id(payload).map(SpanId::to_bytes);
    u64::from_be_bytes(span.unwrap_or_default())
}

/// How the event names its span.
fn span_name(payload: &[u8]) -> SpanName {
    SpanName {
        id: span_of(payload),
        origin: parse::origin_of(payload),
    }
}
