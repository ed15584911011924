//! Recognizes the form of a JSON value: an event, a snapshot of a trace, an OTLP request or a list
//! of them, or a trace of Tempo, Jaeger or Zipkin. Turns each into encoded events. Pure.

use serde_json::Value as Json;

use crate::{
    otlp::{
        decode::{DecodeError, DecodeLimits, Decoded, Signal, decode_json},
        import::{
            compact::{DEPTH_MAX, Fault, compact},
            jaeger,
            left_out::LeftOut,
            otlp_events::OtlpEvents,
            zipkin,
        },
    },
    span::{
        EncodedEvent,
        json::{elements, fields},
    },
};

/// Every OTLP request with content, and every trace of Tempo, has at least one of these fields.
const SIGNALS: &[&[u8]] = &[
    b"resourceSpans",
    b"batches",
    b"resourceLogs",
    b"resourceMetrics",
    b"resourceProfiles",
];
/// Upper bound on the memory of one OTLP request in a file, in bytes.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Upper bound on the fields of an unknown object that an error lists.
const NAMED_FIELDS: usize = 5;
/// Upper bound on a listed field's name, in characters.
const NAMED_CHARS: usize = 30;

/// The reason why a text was rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RejectedText {
    /// The text is not JSON. The fields are the line of the error within the text, and the error.
    Syntax(usize, String),
    /// The text is JSON, but of an unknown form or with an invalid value.
    Form(String),
}

impl From<String> for RejectedText {
    fn from(message: String) -> Self {
        Self::Form(message)
    }
}

/// Turns JSON texts into events.
#[derive(Debug, Default)]
pub(super) struct DocumentReader {
    pub(super) events: Vec<EncodedEvent>,
    /// The total size of the events' payloads.
    pub(super) bytes: u64,
    /// The program that wrote the file, if it is neither livespan nor an OpenTelemetry exporter.
    pub(super) source: &'static str,
    otlp: OtlpEvents,
}

impl DocumentReader {
    pub(super) fn left_out(&mut self) -> &mut LeftOut {
        &mut self.otlp.left_out
    }

    pub(super) fn into_parts(self) -> (Vec<EncodedEvent>, LeftOut, &'static str) {
        (self.events, self.otlp.left_out, self.source)
    }

    /// Turns one value into events. If any part of the value is rejected, none of its events are
    /// kept.
    pub(super) fn read(&mut self, text: &str) -> Result<(), RejectedText> {
        let json = compact(text).map_err(|fault| match fault {
            Fault::Syntax(line, fault) => RejectedText::Syntax(line, fault),
            Fault::Depth => RejectedText::Form(format!("is nested deeper than {DEPTH_MAX} levels")),
        })?;
        let (before, bytes, mark) = (self.events.len(), self.bytes, self.otlp.mark());
        self.value(&json).map_err(|message| {
            self.otlp.reset(mark);
            self.events.truncate(before);
            self.bytes = bytes;
            RejectedText::Form(message)
        })
    }

    fn value(&mut self, json: &[u8]) -> Result<(), String> {
        if json.starts_with(b"{\"type\":\"") {
            // Most lines are livespan's events, and no other form begins in this way.
            return self.event(json);
        }
        if json.starts_with(b"[") {
            return self.list(json);
        }
        if !json.starts_with(b"{") {
            return Err("is neither an event nor a request of OTLP".to_owned());
        }
        let field =
            |name: &[u8]| fields(json).find_map(|(key, value)| (key == name).then_some(value));
        let is_list = |name: &[u8]| field(name).is_some_and(|value| value.starts_with(b"["));
        let object = |name: &[u8]| field(name).filter(|value| value.starts_with(b"{"));
        if is_signal(json) {
            return self.signals(json);
        }
        // A response of Tempo, or of Jaeger's API version 3.
        if let Some(inner) = object(b"trace").or_else(|| object(b"result")) {
            return self.value(inner);
        }
        if is_list(b"spans") && is_list(b"processes") {
            return self.snapshot(json);
        }
        if is_list(b"data") || is_list(b"spans") && field(b"traceID").is_some() {
            return self.jaeger(json);
        }
        self.event(json)
    }

    /// Reads the output of a collector: traces and log records, possibly with metrics in between.
    fn signals(&mut self, json: &[u8]) -> Result<(), String> {
        let field =
            |name: &[u8]| fields(json).find_map(|(key, value)| (key == name).then_some(value));
        let is_tempo = field(b"batches").is_some();
        if is_tempo {
            self.source = "Tempo";
        }
        if is_tempo || field(b"resourceSpans").is_some() {
            self.request(json, Signal::Traces)?;
        }
        if field(b"resourceLogs").is_some() {
            self.request(json, Signal::Logs)?;
        }
        for (what, resources, scopes, items) in [
            (
                LeftOut::METRICS,
                &b"resourceMetrics"[..],
                &b"scopeMetrics"[..],
                &b"metrics"[..],
            ),
            (
                LeftOut::PROFILES,
                b"resourceProfiles",
                b"scopeProfiles",
                b"profiles",
            ),
        ] {
            let count = field(resources).map_or(0, |found| count_items(found, scopes, items));
            self.left_out().add(what, count);
        }
        // Our own server marks a document in this way if it could not write all of it.
        let is_cut = field(b"incomplete").is_some_and(|value| value != b"null");
        self.left_out().add(LeftOut::INCOMPLETE, is_cut.into());
        Ok(())
    }

    fn request(&mut self, json: &[u8], signal: Signal) -> Result<(), String> {
        let limits = DecodeLimits {
            items_max: usize::MAX,
            memory_bytes_max: REQUEST_BYTES_MAX,
        };
        let decoded = decode_json(json, signal, limits).map_err(|error| match error {
            DecodeError::Malformed(message) | DecodeError::TooLarge(message) => message,
        })?;
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        let mut fault = None;
        let mut push = |payload| keep(payload, events, bytes, &mut fault);
        match decoded {
            Decoded::Traces(all) => all.iter().for_each(|spans| self.otlp.add(spans, &mut push)),
            Decoded::Logs(all) => all
                .iter()
                .for_each(|logs| self.otlp.add_logs(logs, &mut push)),
            Decoded::Metrics => {}
        }
        fault.map_or(Ok(()), Err)
    }

    fn list(&mut self, json: &[u8]) -> Result<(), String> {
        let is_zipkin_span = |value: &[u8]| {
            let has_text = |name: &[u8]| {
                fields(value).any(|(key, value)| key == name && value.starts_with(b"\""))
            };
            has_text(b"id") && has_text(b"traceId")
        };
        if !elements(json).all(is_zipkin_span) {
            if !elements(json).all(is_signal) {
                return Err(
                    "is a list, but its entries are neither Zipkin spans nor OTLP requests"
                        .to_owned(),
                );
            }
            for request in elements(json) {
                self.signals(request)?;
            }
            return Ok(());
        }
        self.source = "Zipkin";
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        let mut fault = None;
        let mut push = |payload| keep(payload, events, bytes, &mut fault);
        for (number, span) in elements(json).enumerate() {
            let span: Json =
                serde_json::from_slice(span).map_err(|error| format!("[{number}]: {error}"))?;
            zipkin::add_span(&span, &format!("[{number}]"), &mut self.otlp, &mut push)?;
        }
        fault.map_or(Ok(()), Err)
    }

    fn jaeger(&mut self, json: &[u8]) -> Result<(), String> {
        self.source = "Jaeger";
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        let mut fault = None;
        let mut push = |payload| keep(payload, events, bytes, &mut fault);
        match fields(json).find(|(key, _)| *key == b"data") {
            None => jaeger::add_trace(json, "data[0]", &mut self.otlp, &mut push)?,
            Some((_, traces)) => {
                for (number, trace) in elements(traces).enumerate() {
                    let path = format!("data[{number}]");
                    jaeger::add_trace(trace, &path, &mut self.otlp, &mut push)?;
                }
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// Reads a trace from `GET /traces/{traceId}`.
    fn snapshot(&mut self, json: &[u8]) -> Result<(), String> {
        let field =
            |name: &[u8]| fields(json).find_map(|(key, value)| (key == name).then_some(value));
        for name in [&b"processes"[..], b"spans", b"updates", b"logs"] {
            for event in field(name).into_iter().flat_map(elements) {
                self.event(event)?;
            }
        }
        // Events that were evicted before the snapshot are also missing in the file.
        let evicted = field(b"evicted").and_then(|value| {
            let (_, count) = fields(value).find(|(key, _)| *key == b"events")?;
            std::str::from_utf8(count).ok()?.parse().ok()
        });
        self.left_out().add(LeftOut::EVICTED, evicted.unwrap_or(0));
        let is_cut = field(b"incomplete").is_some_and(|value| value != b"null");
        self.left_out().add(LeftOut::INCOMPLETE, is_cut.into());
        Ok(())
    }

    /// Reads one of livespan's events.
    fn event(&mut self, json: &[u8]) -> Result<(), String> {
        if !fields(json).any(|(key, value)| key == b"type" && value.starts_with(b"\"")) {
            return Err(unknown_object(json));
        }
        let mut fault = None;
        keep(json.to_vec(), &mut self.events, &mut self.bytes, &mut fault);
        fault.map_or(Ok(()), Err)
    }
}

/// Adds the event to `events` if it is valid. Otherwise, stores the reason in `fault`, unless an
/// earlier reason is there.
fn keep(
    payload: Vec<u8>,
    events: &mut Vec<EncodedEvent>,
    bytes: &mut u64,
    fault: &mut Option<String>,
) {
    let event = match String::from_utf8(payload) {
        Ok(text) => EncodedEvent::new(text).map_err(|error| error.with_causes()),
        Err(error) => Err(error.to_string()),
    };
    match event {
        Ok(event) => {
            *bytes += event.payload().len() as u64;
            events.push(event);
        }
        Err(message) => drop(fault.get_or_insert(message)),
    }
}

fn is_signal(json: &[u8]) -> bool {
    fields(json).any(|(key, _)| SIGNALS.contains(&key))
}

/// Returns the number of items of these resources. Resources that are not a list count as one item.
fn count_items(resources: &[u8], scopes: &[u8], items: &[u8]) -> u64 {
    if resources == b"null" {
        return 0;
    }
    if !resources.starts_with(b"[") {
        return 1;
    }
    let members = |value: &[u8], name: &[u8], count: &mut dyn FnMut(&[u8])| {
        for element in elements(value) {
            let found = fields(element).filter(|(key, _)| *key == name);
            found.for_each(|(_, list)| count(list));
        }
    };
    let mut count = 0;
    members(resources, scopes, &mut |scopes| {
        members(scopes, items, &mut |items| {
            count += elements(items).count() as u64;
        });
    });
    count
}

/// Returns an error that lists the fields of an unknown object.
fn unknown_object(json: &[u8]) -> String {
    let shown = |(key, _): (&[u8], &[u8])| -> String {
        String::from_utf8_lossy(key)
            .chars()
            .take(NAMED_CHARS)
            .collect()
    };
    let names: Vec<String> = fields(json).take(NAMED_FIELDS).map(shown).collect();
    let has = if names.is_empty() {
        "it has no fields".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    };
    format!("is neither an event nor anything of OTLP, Tempo, Jaeger or Zipkin: {has}")
}
