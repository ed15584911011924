//! Writes `log` events. Pure: no clock, no I/O. The worker thread calls it, or the app's own thread
//! for log records that the app dispatches itself or imports from a file.

use crate::{
    span::{
        json::{
            value::{Pairs, Value},
            writer::JsonWriter,
        },
        severity::severity_name,
    },
    util::{hex, time::Timestamp},
    wire::frame::number,
};

/// A log record as borrowed fields.
#[derive(Clone, Debug)]
pub(crate) struct LogFields<'a> {
    /// `None` outside of traces.
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) span_id: Option<[u8; 8]>,
    pub(crate) process: &'a str,
    pub(crate) service: &'a str,
    /// 0 if unknown.
    pub(crate) severity: u8,
    /// If it is empty, the name of the severity number is written.
    pub(crate) severity_text: &'a str,
    pub(crate) body: Option<Value<'a>>,
    pub(crate) attributes: Pairs<'a>,
    pub(crate) target: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) event_name: &'a str,
    pub(crate) observed: Option<Timestamp>,
    pub(crate) time: Timestamp,
    /// Whether parts of the record were left out before it came here.
    pub(crate) truncated: bool,
}

pub(crate) fn log(out: &mut Vec<u8>, log: &LogFields<'_>) {
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"log\"");
    id(&mut writer, "traceId", log.trace_id);
    id(&mut writer, "spanId", log.span_id);
    writer.text("process", opening!("process"), log.process);
    writer.text("service", opening!("service"), log.service);
    writer.key("severityNumber");
    number(writer.out, log.severity.into());
    let severity = match log.severity_text {
        "" => severity_name(log.severity),
        text => text,
    };
    writer.text("severityText", opening!("severityText"), severity);
    writer.key("body");
    if let Some(body) = &log.body {
        if writer.value(body) {
            writer.cut(&["body"]);
        }
    } else {
        writer.raw(b"null");
    }
    writer.attributes("attributes", &log.attributes);
    for (key, opening, text) in [
        ("target", opening!("target"), log.target),
        ("scope", opening!("scope"), log.scope),
        ("eventName", opening!("eventName"), log.event_name),
    ] {
        if !text.is_empty() {
            writer.text(key, opening, text);
        }
    }
    if let Some(observed) = log.observed {
        writer.time(opening!("observedTimestamp"), observed);
    }
    writer.time(opening!("timestamp"), log.time);
    writer.end(log.truncated, false);
}

fn id<const N: usize>(writer: &mut JsonWriter<'_>, key: &str, id: Option<[u8; N]>) {
    writer.key(key);
    match id {
        Some(id) => {
            writer.raw(b"\"");
            hex::push(writer.out, &id);
            writer.raw(b"\"");
        }
        None => writer.raw(b"null"),
    }
}
