//! Writes complete events: `started`, `ended`, `log` and `process`; [`updated`](mod@super::updated) writes `updated`.
//! Pure: no clock, no I/O. The worker thread calls it; for events that an app dispatches itself or imports from a file,
//! the app's own thread does.

use crate::{
    log::event::{Pinning, SseEvent, StreamKey},
    span::{
        event::{Phase, SpanEvent, SpanId, SpanStatus},
        json::{
            derived::end_from_start::StartLayout,
            fields::{EndCause, EndFields, EndStatus, ProcessFields, SpanFields},
            log::{LogFields, log},
            updated::{ChangeFields, updated},
            value::{Value, pairs},
            writer::JsonWriter,
        },
        severity::severity_number,
    },
    util::time::Timestamp,
    wire::frame::number,
};

/// Writes the start of a span. Returns the layout of its parts, or `None` if a part was cut or the event has a part
/// that the layout does not describe.
pub(crate) fn started(
    out: &mut Vec<u8>,
    span: &SpanFields<'_>,
    time: Timestamp,
) -> Option<StartLayout> {
    let mut writer = JsonWriter::new(out);
    writer.raw(STARTED);
    let before = writer.written();
    writer.identity(span);
    let identity = before..writer.written();
    let keys = writer.attributes("attributes", &span.attributes);
    let attributes = identity.end..writer.written() - 1;
    writer.time(TIMESTAMP, time);
    let timestamp = attributes.end + 1 + TIMESTAMP.len()..writer.written();
    writer.links(&span.links);
    let before = writer.written();
    writer.traits(span);
    let traits = before..writer.written();
    let is_whole = writer.cut.is_empty() && !span.truncated && !span.durable;
    writer.dropped([span.dropped_attributes, 0, 0]);
    writer.end(span.truncated, span.durable);
    Some(StartLayout {
        identity,
        attributes,
        timestamp,
        traits,
        keys: keys.filter(|_| is_whole && span.dropped_attributes == 0)?,
    })
}

pub(crate) fn ended(out: &mut Vec<u8>, span: &SpanFields<'_>, end: &EndFields<'_>) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"ended\"");
    writer.identity(span);
    writer.status(&end.status);
    writer.reason(&end.reason);
    writer.attributes("attributes", &span.attributes);
    writer.time(opening!("startTimestamp"), end.start);
    writer.time(opening!("timestamp"), end.end);
    writer.events(&end.events);
    writer.links(&span.links);
    writer.traits(span);
    writer.dropped([
        span.dropped_attributes,
        end.dropped_events,
        end.dropped_links,
    ]);
    writer.end(span.truncated, span.durable);
}

/// Writes a log record that an app dispatched itself.
fn dispatched_log(out: &mut Vec<u8>, event: &SpanEvent, severity: &str, body: &str) {
    let fields = LogFields {
        trace_id: Some(event.trace_id.to_bytes()),
        span_id: Some(event.span_id.to_bytes()),
        process: &event.process,
        service: &event.service,
        severity: severity_number(severity).unwrap_or(0),
        severity_text: severity,
        body: Some(Value::Text(body)),
        attributes: pairs(&event.attributes),
        target: "",
        scope: &event.scope,
        event_name: "",
        observed: None,
        time: event.timestamp,
        truncated: false,
    };
    log(out, &fields);
}

pub(crate) fn process(out: &mut Vec<u8>, process: &ProcessFields<'_>) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"process\",\"traceId\":null,\"spanId\":null");
    writer.text("process", opening!("process"), process.process);
    writer.text("service", opening!("service"), process.service);
    writer.attributes("resource", &process.resource);
    if let Some(pid) = process.pid {
        writer.key("pid");
        number(writer.out, pid.into());
    }
    writer.time(opening!("startTimestamp"), process.start);
    writer.time(opening!("timestamp"), process.now);
    writer.finish(false);
}

/// Writes an event that an app dispatched itself.
pub(crate) fn event(out: &mut Vec<u8>, event: &SpanEvent) {
    let attributes = pairs(&event.attributes);
    let span = SpanFields {
        trace_id: event.trace_id.to_bytes(),
        span_id: event.span_id.to_bytes(),
        parent: event.parent.map(SpanId::to_bytes),
        parent_remote: false,
        unsampled: false,
        durable: event.durable,
        name: &event.name,
        kind: event.kind,
        process: &event.process,
        service: &event.service,
        scope: Some(&event.scope),
        scope_version: None,
        trace_state: "",
        attributes,
        dropped_attributes: 0,
        links: Vec::new(),
        received: None,
        truncated: false,
    };
    match &event.phase {
        Phase::Started => drop(started(out, &span, event.timestamp)),
        Phase::Ended { status, start } => {
            let status = match status {
                SpanStatus::Unset => EndStatus::Unset,
                SpanStatus::Ok => EndStatus::Ok,
                SpanStatus::Error(message) => EndStatus::Error(message.into()),
            };
            let end = EndFields {
                status,
                start: *start,
                end: event.timestamp,
                events: Vec::new(),
                dropped_events: 0,
                dropped_links: 0,
                reason: EndCause::Done,
            };
            ended(out, &span, &end);
        }
        Phase::Updated { state } => {
            let changes = ChangeFields {
                name: Some(event.name.as_str()).filter(|name| !name.is_empty()),
                state: *state,
                ..ChangeFields::default()
            };
            updated(out, &span, &changes, event.timestamp);
        }
        Phase::Log { severity, body } => dispatched_log(out, event, severity, body),
    }
}

impl SseEvent for SpanEvent {
    fn name(&self) -> &str {
        match &self.phase {
            Phase::Started => "started",
            Phase::Ended { .. } => "ended",
            Phase::Updated { .. } => "updated",
            Phase::Log { .. } => "log",
        }
    }

    fn stream_key(&self) -> Option<StreamKey> {
        Some(self.trace_id.stream_key())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        event(out, self);
    }

    fn pin(&self) -> Pinning {
        match &self.phase {
            Phase::Started => Pinning::Open(self.span_id.token()),
            Phase::Ended { .. } => Pinning::Close(self.span_id.token()),
            Phase::Updated { .. } | Phase::Log { .. } => Pinning::None,
        }
    }

    fn is_deduplicated(&self) -> bool {
        self.durable
    }
}

/// The first bytes of every start.
pub(super) const STARTED: &[u8] = b"{\"type\":\"started\"";
pub(super) const TIMESTAMP: &[u8] = opening!("timestamp");

/// Bytes of `,"attributes":{`.
pub(super) const ATTRIBUTES_OPEN: usize = opening!("attributes").len();
