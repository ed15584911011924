//! The state that all processors of one log share, and the functions that put spans into its ingest buffer. It runs on
//! the host's threads, so it never waits, never panics and never touches the current `Context`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::{Resource, trace::SpanData};

#[cfg(any(feature = "logs", feature = "tracing"))]
use crate::span::shown_event::{self, EventRoute};
use crate::{
    engine::worker::LogRuntime,
    ingest::{
        buffer::{IngestBuffer, PushError, RecordClass},
        write_buf::WriteBuf,
    },
    otel::{
        filter::{EndVerdict, SpanFilter},
        span_override::LogIdentity,
    },
    span::{
        delta::slots::SlotGuard,
        dropped_ends::{DroppedEnd, DroppedEnds},
        event::{AttributeValue, Attributes, SpanState},
        process::Processes,
        record::{self, Durability, SpanOrigin},
        updates::{Awaiting, UpdateQueue, UpdateSlot, ids_of},
    },
    util::time::Timestamp,
};

/// The state that all processors of one log share.
#[derive(Debug)]
pub(crate) struct ProcessorShared {
    /// The number of this log within the program, from 1.
    pub(crate) log_number: u64,
    pub(crate) runtime: Arc<LogRuntime>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) filter: SpanFilter,
    pub(crate) dropped_ends: Arc<DroppedEnds>,
    #[cfg_attr(
        not(feature = "metrics"),
        expect(dead_code, reason = "only metrics read it")
    )]
    pub(crate) ended_count: Arc<AtomicU64>,
    /// Identifies this log to [`span_override`](crate::otel::span_override), which can tell the processor that this log
    /// already has a span.
    pub(crate) log_identity: LogIdentity,
    /// Open spans whose changes were not reported yet.
    pub(crate) updates: Arc<UpdateQueue>,
    pub(crate) plug_ins: PlugIns,
}

/// Which plug-ins besides span processors deliver to the log.
#[cfg_attr(
    any(feature = "logs", feature = "tracing"),
    expect(
        clippy::struct_field_names,
        reason = "each says whether something is there"
    )
)]
#[derive(Debug, Default)]
pub(crate) struct PlugIns {
    /// Whether a [`LiveSampler`](crate::LiveSampler) of this log exists, so that it can be probed.
    pub(crate) has_sampler: AtomicBool,
    /// Whether a layer delivers events of `tracing` to this log.
    #[cfg(any(feature = "logs", feature = "tracing"))]
    pub(crate) has_log_layer: AtomicBool,
    #[cfg(any(feature = "logs", feature = "tracing"))]
    pub(crate) has_log_processor: AtomicBool,
}

#[cfg(any(feature = "logs", feature = "tracing"))]
impl PlugIns {
    /// Returns whether the event was already shown through the other route.
    #[inline]
    pub(crate) fn is_shown_already(
        &self,
        log: u64,
        name: &str,
        route: EventRoute,
        at: Timestamp,
    ) -> bool {
        self.has_log_layer.load(Ordering::Relaxed)
            && self.has_log_processor.load(Ordering::Relaxed)
            && shown_event::is_shown_already(log, name, route, at)
    }
}

/// Returns the number for a new log.
pub(crate) fn next_log_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl ProcessorShared {
    /// Puts the start of a span into the buffer, if the filter wants the span.
    pub(crate) fn enqueue_start(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        if !self.filter.wants_start(data) {
            return;
        }
        let guard = SlotGuard::none();
        let write = |buf: &mut WriteBuf<'_>| record::write_start(buf, source, data, origin, &guard);
        // A full buffer counts the start as dropped. A buffer closed by shutdown ignores it.
        drop(self.buffer().push(RecordClass::Start, write));
    }

    /// Puts the end of a span into the buffer, unless the filter hides it.
    pub(crate) fn enqueue_end(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        let pushed = match self.filter.judge_end(data) {
            EndVerdict::Show => self.buffer().push(RecordClass::End, |buf| {
                record::write_end(buf, source, data, origin)
            }),
            EndVerdict::Hide => return,
            EndVerdict::HideUnlessShown => {
                // The span's start may be hidden, so a refused end is not counted as dropped.
                self.buffer().try_push(RecordClass::End, |buf| {
                    record::write_end_if_shown(buf, source, data, origin)
                })
            }
        };
        if pushed == Err(PushError::Full) {
            self.enqueue_dropped_end(data);
        }
    }

    /// Counts an end that came after the shutdown of its processor, if it would have been shown. The SDK does not count
    /// such ends.
    #[cfg(feature = "metrics")]
    #[cold]
    pub(crate) fn count_late_end(&self, data: &SpanData) {
        if self.filter.judge_end(data) == EndVerdict::Show {
            self.buffer().count_late_end();
        }
    }

    /// Pushes a short record of the span's end, so that the span does not appear to run for ever. The buffer reserves
    /// its last room for such records. If that is full, too, the end is added to `dropped_ends`.
    #[cold]
    pub(crate) fn enqueue_dropped_end(&self, data: &SpanData) {
        // In a forked child the buffer is closed, or soon will be.
        if self.buffer().is_closed() {
            return;
        }
        let dropped = DroppedEnd::of(data);
        if self.push_dropped_end(&dropped) == Err(PushError::Full) {
            self.dropped_ends.add(dropped, || self.buffer().is_forked());
            // Pushed again: the worker may have emptied the buffer and read `dropped_ends` just before this end was
            // added. If it arrives twice, the span still ends once.
            drop(self.push_dropped_end(&dropped));
        }
    }

    /// Sets the service and the attributes of a source (the number of a process) from its resource.
    pub(crate) fn set_resource(&self, source: u32, resource: &Resource) {
        let (service, attributes) = described(resource);
        self.processes.describe(source, service, attributes);
    }

    /// Returns the source of a logger provider. If a tracer provider has the same resource, both have one source, so
    /// the program's spans and log records belong to one process. Without a resource, returns the newest source, or a
    /// new one if there is none.
    #[cfg(feature = "logs")]
    pub(crate) fn source_of_logs(&self, resource: Option<&Resource>) -> u32 {
        let Some(resource) = resource else {
            return self
                .processes
                .newest()
                .unwrap_or_else(|| self.processes.add());
        };
        let (service, attributes) = described(resource);
        self.processes
            .with_resource(&attributes)
            .unwrap_or_else(|| {
                let source = self.processes.add();
                self.processes.describe(source, service, attributes);
                source
            })
    }

    /// Puts the end of a span into the buffer. The worker ignores it unless the log has the start and no end.
    pub(crate) fn enqueue_end_if_open(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        let write = |buf: &mut WriteBuf<'_>| record::write_end_if_shown(buf, source, data, origin);
        drop(self.buffer().try_push(RecordClass::End, write));
    }

    /// Pushes the last changes of a span, right before its end.
    pub(crate) fn enqueue_last_changes(&self, slot: &Arc<UpdateSlot>) {
        let Some(mut changes) = slot.end() else {
            return self.updates.push_ended(self.buffer(), slot);
        };
        // A span that ends no longer waits. That needs no separate event.
        changes.awaiting = Awaiting::Unchanged;
        // The polls of a span need no event if they were never reported before.
        if !slot.was_taken() {
            changes.task = None;
        }
        if changes.is_empty() {
            return;
        }
        let time = Timestamp::now();
        let write = |buf: &mut WriteBuf<'_>| record::write_changes(buf, slot, &changes, time);
        drop(self.buffer().push(RecordClass::Other, write));
    }

    /// Pushes the last changes that did not come through the span object.
    #[inline]
    pub(crate) fn enqueue_shared_changes(&self, span: &SpanContext) {
        if self.updates.has_shared_slots() {
            self.enqueue_changes_by_ids(span);
        }
    }

    #[inline(never)]
    fn enqueue_changes_by_ids(&self, span: &SpanContext) {
        if let Some(slot) = self.updates.remove(ids_of(span)) {
            self.enqueue_last_changes(&slot);
        }
    }

    /// Puts a change of an open span into the buffer.
    pub(crate) fn enqueue_update(
        &self,
        source: u32,
        data: &SpanData,
        durability: Durability,
        state: Option<SpanState>,
    ) {
        let write =
            |buf: &mut WriteBuf<'_>| record::write_update(buf, source, data, durability, state);
        drop(self.buffer().push(RecordClass::Other, write));
    }

    /// Puts a log record into the buffer. A full buffer counts the record as dropped.
    #[cfg(any(feature = "logs", feature = "tracing"))]
    pub(crate) fn enqueue_log(&self, write: impl Fn(&mut WriteBuf<'_>) -> Option<()>) {
        drop(self.buffer().push(RecordClass::Other, write));
    }

    #[inline]
    pub(crate) fn buffer(&self) -> &IngestBuffer {
        &self.runtime.buffer
    }

    fn push_dropped_end(&self, dropped: &DroppedEnd) -> Result<(), PushError> {
        self.buffer().push(RecordClass::Internal, |buf| {
            record::write_dropped_end(buf, dropped)
        })
    }
}

/// Returns the service and the attributes of a resource.
fn described(resource: &Resource) -> (Option<String>, Attributes) {
    let mut service = None;
    let mut attributes = Attributes::new();
    for (key, value) in resource {
        if key.as_str() == "service.name" {
            service = Some(value.as_str().into_owned());
        }
        attributes.push((key.as_str().to_owned(), AttributeValue::from(value)));
    }
    // Sorted, so that every run has the same order: the SDK keeps a resource in a hash map.
    attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
    (service, attributes)
}
