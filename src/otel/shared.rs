//! What every processor of one log shares, and how spans get into its buffer. It runs on the host's threads, so it never
//! waits, never panics and never touches the current `Context`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use opentelemetry::{Array, Value};
use opentelemetry_sdk::{Resource, trace::SpanData};

use crate::{
    encoder::dropped_count::Tally,
    engine::worker::LogRuntime,
    ingest::{
        buffer::{IngestBuffer, PushError, RecordClass},
        write_buf::WriteBuf,
    },
    otel::{
        filter::{EndVerdict, SpanFilter},
        span_override::Told,
    },
    span::{
        delta::slots::Lease,
        dropped_ends::{Mark, Marks},
        event::{AttributeValue, Attributes, SpanState},
        process::Processes,
        record::{self, Lasting, Nature},
    },
};

/// What every processor of one log shares.
#[derive(Debug)]
pub(crate) struct ProcessorParts {
    /// The log's own number among those of this program, from 1.
    pub(crate) number: u64,
    pub(crate) runtime: Arc<LogRuntime>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) filter: SpanFilter,
    pub(crate) marks: Arc<Marks>,
    #[cfg_attr(
        not(feature = "metrics"),
        expect(dead_code, reason = "only metrics tell it")
    )]
    pub(crate) tally: Arc<Tally>,
    /// Which spans are not to be shown, because they are there already.
    pub(crate) told: Told,
    /// Whether a sampler of ours was made, which can be asked.
    pub(crate) samples: AtomicBool,
}

/// A number for the next log.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl ProcessorParts {
    /// Puts the start of a span into the buffer, if it is to be shown.
    pub(crate) fn show_start(&self, source: u32, data: &SpanData, nature: Nature) {
        if !self.filter.wants_start(data) {
            return;
        }
        let lease = Lease::none();
        let write =
            |room: &mut WriteBuf<'_>| record::write_start(room, source, data, nature, &lease);
        // Refused and full is counted by the intake; refused and closed is as after shutdown.
        drop(self.buffer().push(RecordClass::Start, write));
    }

    /// Puts the end of a span into the buffer, if it is to be shown.
    pub(crate) fn show_end(&self, source: u32, data: &SpanData, nature: Nature) {
        let pushed = match self.filter.judge_end(data) {
            EndVerdict::Show => self.buffer().push(RecordClass::End, |room| {
                record::write_end(room, source, data, nature)
            }),
            EndVerdict::Hide => return,
            EndVerdict::HideUnlessShown => {
                // Nobody misses it when it is refused, so it does not count as dropped.
                self.buffer().try_push(RecordClass::End, |room| {
                    record::write_end_if_shown(room, source, data, nature)
                })
            }
        };
        if pushed == Err(PushError::Full) {
            self.mark_end(data);
        }
    }

    /// Counts the end of a span that would have been shown, had its processor not been shut down. The SDK itself tells of
    /// none.
    #[cfg(feature = "metrics")]
    #[cold]
    pub(crate) fn note_late_end(&self, data: &SpanData) {
        if self.filter.judge_end(data) == EndVerdict::Show {
            self.buffer().count_late_end();
        }
    }

    /// The last of the room is for the bare fact that the span ended, so that it is not shown running for ever.
    #[cold]
    pub(crate) fn mark_end(&self, data: &SpanData) {
        // In a fork the intake has noticed, or soon will.
        if self.buffer().is_closed() {
            return;
        }
        let mark = Mark::of(data);
        if self.push_mark(&mark) == Err(PushError::Full) {
            self.marks.keep(mark, || self.buffer().is_forked());
            // Asked again: the worker may have emptied the buffer, and looked aside, before the mark was there. Told
            // twice, it ends the span once.
            drop(self.push_mark(&mark));
        }
    }

    /// Says of a source what its resource says.
    pub(crate) fn describe(&self, source: u32, resource: &Resource) {
        let mut service = None;
        let mut attributes = Attributes::new();
        for (key, value) in resource {
            if key.as_str() == "service.name" {
                service = Some(value.as_str().into_owned());
            }
            attributes.push((key.as_str().to_owned(), attribute_value(value)));
        }
        // The SDK keeps a resource in a hash map: a sorted one reads the same in every run.
        attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.processes.describe(source, service, attributes);
    }

    /// Puts the end of a span into the buffer that counts only if the log has its start, and no end.
    pub(crate) fn show_end_if_open(&self, source: u32, data: &SpanData, nature: Nature) {
        let write =
            |room: &mut WriteBuf<'_>| record::write_end_if_shown(room, source, data, nature);
        drop(self.buffer().try_push(RecordClass::End, write));
    }

    /// Puts what changed about an open span into the buffer.
    pub(crate) fn show_update(
        &self,
        source: u32,
        data: &SpanData,
        lasting: Lasting,
        state: Option<SpanState>,
    ) {
        let write =
            |room: &mut WriteBuf<'_>| record::write_update(room, source, data, lasting, state);
        drop(self.buffer().push(RecordClass::Other, write));
    }

    #[inline]
    pub(crate) fn buffer(&self) -> &IngestBuffer {
        &self.runtime.buffer
    }

    fn push_mark(&self, mark: &Mark) -> Result<(), PushError> {
        self.buffer().push(RecordClass::Internal, |room| {
            record::write_end_mark(room, mark)
        })
    }
}

fn attribute_value(value: &Value) -> AttributeValue {
    match value {
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::I64(value) => AttributeValue::Int(*value),
        Value::F64(value) => AttributeValue::Double(*value),
        Value::Array(Array::Bool(values)) => AttributeValue::Bools(values.clone()),
        Value::Array(Array::I64(values)) => AttributeValue::Ints(values.clone()),
        Value::Array(Array::F64(values)) => AttributeValue::Doubles(values.clone()),
        Value::Array(Array::String(values)) => AttributeValue::Strings(
            values
                .iter()
                .map(|value| value.as_str().to_owned())
                .collect(),
        ),
        other => AttributeValue::String(other.as_str().into_owned()),
    }
}
