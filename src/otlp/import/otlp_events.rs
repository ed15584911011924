//! Converts a file's OTLP spans and log records to encoded events, by the same mapping as for
//! received requests. Pure.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    logs::v1::ResourceLogs,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, Span},
};
use prost::Message as _;

use crate::{
    otlp::{
        decode::{LinkView, SpanParts, SpanView},
        followed_spans::first_changes,
        import::left_out::LeftOut,
        mapping::{
            ProcessKey, attributes, end_fields, fields_of, id, is_empty, is_open, log_fields,
            number_of, parent_of, partial_spans, service_name, span_text, text_of,
        },
        request::check,
        sender_activity::OpenSpanReporting,
    },
    span::json::{self, ProcessFields},
    util::{hash::Map, time::Timestamp},
};

/// Turns spans and log records into events. Emits each process once, before its first span or log
/// record.
#[derive(Debug, Default)]
pub(super) struct OtlpEvents {
    numbers: Map<ProcessKey, usize>,
    processes: Vec<FileProcess>,
    /// The numbers of the emitted processes, in order.
    emitted: Vec<usize>,
    pub(super) left_out: LeftOut,
}

/// A process of a file.
#[derive(Debug)]
struct FileProcess {
    id: String,
    service: String,
    resource: Resource,
    is_emitted: bool,
    reporting: OpenSpanReporting,
}

/// The spans seen in one resource of a file.
#[derive(Clone, Copy, Debug, Default)]
struct SeenSpans {
    has_open: bool,
    /// The length of the longest span that had ended.
    longest: Duration,
}

impl OtlpEvents {
    /// Returns the number of the process with this resource.
    pub(super) fn process_of(&mut self, resource: Option<&Resource>) -> usize {
        let key = ProcessKey::of(resource);
        let number = *self.numbers.entry(key).or_insert(self.processes.len());
        if number == self.processes.len() {
            let resource = resource.cloned().unwrap_or_default();
            let language = text_of(&resource.attributes, "telemetry.sdk.language");
            self.processes.push(FileProcess {
                id: format!("file-{number}"),
                service: service_name(&resource.attributes).to_owned(),
                reporting: OpenSpanReporting::new(language == Some("dotnet")),
                resource,
                is_emitted: false,
            });
        }
        number
    }

    /// Returns a mark for [`reset`](Self::reset).
    pub(super) fn mark(&self) -> (usize, LeftOut) {
        (self.emitted.len(), self.left_out.clone())
    }

    /// Undoes the emitted processes and the counts since the mark. The caller discards the events
    /// since the mark.
    pub(super) fn reset(&mut self, (emitted, left_out): (usize, LeftOut)) {
        for number in self.emitted.drain(emitted..) {
            if let Some(process) = self.processes.get_mut(number) {
                process.is_emitted = false;
            }
        }
        self.left_out = left_out;
    }

    /// Turns all spans of a resource into events.
    pub(super) fn add(&mut self, spans: &ResourceSpans, push: &mut impl FnMut(Vec<u8>)) {
        let resource = spans.resource.as_ref();
        self.count_evicted(resource.map_or(&[], |resource| &resource.attributes));
        let process = self.process_of(resource);
        let known = self.processes.get(process);
        let sends_open_as_empty =
            known.is_some_and(|process| process.reporting.sends_open_as_empty());
        let mut seen = SeenSpans::default();
        for scope_spans in &spans.scope_spans {
            for span in &scope_spans.spans {
                let bytes = span.encode_to_vec();
                let Some(span) = view(&bytes, scope_spans.scope.as_ref()) else {
                    continue;
                };
                let is_open = is_open(&span) || sends_open_as_empty && is_empty(&span);
                let length = span.end_nanos.saturating_sub(span.start_nanos);
                if self.add_span_as(process, span, is_open, push) {
                    seen.add(length, is_open);
                }
            }
        }
        if let Some(process) = self.processes.get_mut(process) {
            process.learn(seen);
        }
    }

    /// Counts the events that retention had removed before our own server wrote the export.
    fn count_evicted(&mut self, resource: &[KeyValue]) {
        let evicted = number_of(resource, "livespan.evicted.events");
        let evicted = evicted.and_then(|count| u64::try_from(count).ok());
        self.left_out.add(LeftOut::EVICTED, evicted.unwrap_or(0));
    }

    /// Turns a span into events. Only the span's own fields decide whether it is open.
    pub(super) fn add_span(
        &mut self,
        process: usize,
        (span, scope): (&Span, Option<&InstrumentationScope>),
        push: &mut impl FnMut(Vec<u8>),
    ) {
        let bytes = span.encode_to_vec();
        if let Some(span) = view(&bytes, scope) {
            let is_open = is_open(&span);
            self.add_span_as(process, span, is_open, push);
        }
    }

    /// Turns a span into events. An open span becomes a start, and an update with its other known
    /// fields. An ended span becomes an end. Returns `false` if the ids are not valid.
    fn add_span_as(
        &mut self,
        process: usize,
        mut span: SpanView<'_>,
        is_open: bool,
        push: &mut impl FnMut(Vec<u8>),
    ) -> bool {
        let Ok(key) = check(&span) else {
            self.left_out.add(LeftOut::SPAN_IDS, 1);
            return false;
        };
        self.count_faults(&span);
        self.left_out.add(LeftOut::OPEN, is_open.into());
        let start = Timestamp::from_nanos(span.start_nanos);
        let Some(process) = self.emitted_process(process, start, push) else {
            return true;
        };
        let mut out = Vec::new();
        let parent = parent_of(&span);
        if is_open {
            let mut fields = fields_of(span.clone(), key, parent);
            (fields.process, fields.service) = (&process.id, &process.service);
            let _layout = json::started(&mut out, &fields, start);
            push(std::mem::take(&mut out));
            // The file does not contain the time at which it was written, so the update gets the
            // time of the last span event.
            let known = span.events.iter().map(|event| event.time).max();
            let time = known.map_or(start, |time| start.max(time));
            if let Some((mut fields, changes)) = first_changes(&span, &key, time) {
                (fields.process, fields.service) = (&process.id, &process.service);
                json::updated(&mut out, &fields, &changes, time);
                push(out);
            }
            return true;
        }
        let is_lost = span_text(&span.attributes, "livespan.state") == Some("lost");
        let end = end_fields(&mut span);
        let mut fields = fields_of(span, key, parent);
        (fields.process, fields.service) = (&process.id, &process.service);
        json::ended(&mut out, &fields, &end);
        if is_lost {
            json::mark_lost(&mut out);
        }
        push(out);
        true
    }

    /// Turns all log records of a resource into events.
    pub(super) fn add_logs(&mut self, logs: &ResourceLogs, push: &mut impl FnMut(Vec<u8>)) {
        let number = self.process_of(logs.resource.as_ref());
        for scope_logs in &logs.scope_logs {
            for record in &scope_logs.log_records {
                if let Some(open) = partial_spans(record) {
                    for mut spans in open.resource_spans {
                        spans.resource = spans.resource.or_else(|| logs.resource.clone());
                        self.add(&spans, push);
                    }
                    continue;
                }
                if record.time_unix_nano == 0 && record.observed_time_unix_nano == 0 {
                    self.left_out.add(LeftOut::NO_TIME, 1);
                    continue;
                }
                let scope = scope_logs.scope.as_ref();
                let mut fields = log_fields(record, scope, Timestamp::default());
                let Some(process) = self.emitted_process(number, fields.time, push) else {
                    continue;
                };
                (fields.process, fields.service) = (&process.id, &process.service);
                let mut out = Vec::new();
                json::log(&mut out, &fields);
                push(out);
            }
        }
    }

    /// Returns a process, and emits it if it was not emitted before.
    fn emitted_process(
        &mut self,
        number: usize,
        time: Timestamp,
        push: &mut impl FnMut(Vec<u8>),
    ) -> Option<&FileProcess> {
        let process = self.processes.get_mut(number)?;
        if !std::mem::replace(&mut process.is_emitted, true) {
            self.emitted.push(number);
            push(process.event(time));
        }
        Some(process)
    }

    fn count_faults(&mut self, span: &SpanView<'_>) {
        let is_unknown = !(0..=2).contains(&span.status.code);
        self.left_out.add(LeftOut::STATUS_CODES, is_unknown.into());
        let is_wrong = |link: &&LinkView<'_>| {
            id::<16>(link.trace_id).is_none() || id::<8>(link.span_id).is_none()
        };
        let wrong = span.links.iter().filter(is_wrong).count();
        self.left_out.add(LeftOut::LINK_IDS, wrong as u64);
    }
}

/// Returns the view of an encoded span.
fn view<'a>(bytes: &'a [u8], scope: Option<&'a InstrumentationScope>) -> Option<SpanView<'a>> {
    Some(SpanView {
        scope: scope.map_or("", |scope| &scope.name),
        scope_version: scope.map_or("", |scope| &scope.version),
        ..SpanView::again(bytes, SpanParts::All)?
    })
}

impl SeenSpans {
    /// Adds a span of this length, in nanoseconds.
    fn add(&mut self, length: u64, is_open: bool) {
        if is_open {
            self.has_open = true;
        } else {
            self.longest = self.longest.max(Duration::from_nanos(length));
        }
    }
}

impl FileProcess {
    fn learn(&mut self, seen: SeenSpans) {
        if seen.has_open {
            self.reporting.opened();
        } else {
            self.reporting.ended_unseen(seen.longest);
        }
    }

    /// Returns the event that describes the process. `start` is the time of the process's first
    /// span or log record in the file.
    fn event(&self, start: Timestamp) -> Vec<u8> {
        let resource = &self.resource.attributes;
        let pid = number_of(resource, "process.pid").and_then(|pid| u32::try_from(pid).ok());
        let fields = ProcessFields {
            process: &self.id,
            service: &self.service,
            resource: attributes(resource),
            pid,
            start,
            now: start,
        };
        let mut out = Vec::new();
        json::process(&mut out, &fields);
        out
    }
}
