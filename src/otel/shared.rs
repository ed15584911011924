//! What every processor of one log shares, and how spans get into its buffer. It runs on the host's threads, so it never
//! waits, never panics and never touches the current `Context`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use opentelemetry_sdk::{Resource, trace::SpanData};

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
    },
};

/// What every processor of one log shares.
#[derive(Debug)]
pub(crate) struct ProcessorShared {
    /// The log's own number among those of this program, from 1.
    pub(crate) log_number: u64,
    pub(crate) runtime: Arc<LogRuntime>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) filter: SpanFilter,
    pub(crate) dropped_ends: Arc<DroppedEnds>,
    #[cfg_attr(
        not(feature = "metrics"),
        expect(dead_code, reason = "only metrics tell it")
    )]
    pub(crate) ended_count: Arc<AtomicU64>,
    /// Which spans are not to be shown, because they are there already.
    pub(crate) log_identity: LogIdentity,
    /// Whether a sampler of ours was made, which can be asked.
    pub(crate) has_sampler: AtomicBool,
}

/// A number for the next log.
pub(crate) fn next_log_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl ProcessorShared {
    /// Puts the start of a span into the buffer, if it is to be shown.
    pub(crate) fn enqueue_start(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        if !self.filter.wants_start(data) {
            return;
        }
        let guard = SlotGuard::none();
        let write = |buf: &mut WriteBuf<'_>| record::write_start(buf, source, data, origin, &guard);
        // Refused and full is counted by the intake; refused and closed is as after shutdown.
        drop(self.buffer().push(RecordClass::Start, write));
    }

    /// Puts the end of a span into the buffer, if it is to be shown.
    pub(crate) fn enqueue_end(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        let pushed = match self.filter.judge_end(data) {
            EndVerdict::Show => self.buffer().push(RecordClass::End, |buf| {
                record::write_end(buf, source, data, origin)
            }),
            EndVerdict::Hide => return,
            EndVerdict::HideUnlessShown => {
                // Nobody misses it when it is refused, so it does not count as dropped.
                self.buffer().try_push(RecordClass::End, |buf| {
                    record::write_end_if_shown(buf, source, data, origin)
                })
            }
        };
        if pushed == Err(PushError::Full) {
            self.enqueue_dropped_end(data);
        }
    }

    /// Counts the end of a span that would have been shown, had its processor not been shut down. The SDK itself tells of
    /// none.
    #[cfg(feature = "metrics")]
    #[cold]
    pub(crate) fn count_late_end(&self, data: &SpanData) {
        if self.filter.judge_end(data) == EndVerdict::Show {
            self.buffer().count_late_end();
        }
    }

    /// The last of the room is for the bare fact that the span ended, so that it is not shown running for ever.
    #[cold]
    pub(crate) fn enqueue_dropped_end(&self, data: &SpanData) {
        // In a fork the intake has noticed, or soon will.
        if self.buffer().is_closed() {
            return;
        }
        let dropped = DroppedEnd::of(data);
        if self.push_dropped_end(&dropped) == Err(PushError::Full) {
            self.dropped_ends.add(dropped, || self.buffer().is_forked());
            // Asked again: the worker may have emptied the buffer, and looked aside, before the mark was there. Told
            // twice, it ends the span once.
            drop(self.push_dropped_end(&dropped));
        }
    }

    /// Says of a source what its resource says.
    pub(crate) fn set_resource(&self, source: u32, resource: &Resource) {
        let mut service = None;
        let mut attributes = Attributes::new();
        for (key, value) in resource {
            if key.as_str() == "service.name" {
                service = Some(value.as_str().into_owned());
            }
            attributes.push((key.as_str().to_owned(), AttributeValue::from(value)));
        }
        // The SDK keeps a resource in a hash map: a sorted one reads the same in every run.
        attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.processes.describe(source, service, attributes);
    }

    /// Puts the end of a span into the buffer that counts only if the log has its start, and no end.
    pub(crate) fn enqueue_end_if_open(&self, source: u32, data: &SpanData, origin: SpanOrigin) {
        let write = |buf: &mut WriteBuf<'_>| record::write_end_if_shown(buf, source, data, origin);
        drop(self.buffer().try_push(RecordClass::End, write));
    }

    /// Puts what changed about an open span into the buffer.
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
