//! A trace as OTLP/JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`). In OTLP's JSON
//! mapping, ids are hex, 64-bit integers are strings and enums are numbers. Spans that have not
//! ended are left out, because OTLP has no form for them; the caller counts them. Spans that
//! panicked, were cancelled or lost have the attribute `livespan.state`.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value as Json, json};

use crate::{
    trace::{
        parse::{self, Parsed, ParsedMoment},
        summary::EvictedParts,
    },
    util::{hex, time::Timestamp},
};

/// `SpanFlags`: `HAS_IS_REMOTE` means that it is known whether the parent is remote, `IS_REMOTE` that it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The spans of one process.
#[derive(Debug)]
struct Resource {
    attributes: Vec<Json>,
    scopes: Vec<OtlpScope>,
}

/// The spans of one instrumentation scope within a [`Resource`]. They are kept as JSON text, which is much smaller than
/// the parsed spans.
#[derive(Debug)]
struct OtlpScope {
    scope: Json,
    spans: Vec<u8>,
}

/// Writes ended spans as one JSON text, batch by batch. Within a batch they are grouped by process and scope.
#[derive(Debug, Default)]
pub(crate) struct OtlpWriter {
    /// Resource attributes by process.
    processes: HashMap<String, Vec<Json>>,
    resources: Vec<Resource>,
    places: HashMap<String, usize>,
    scopes: HashMap<(usize, String, Option<String>), usize>,
    size: usize,
    has_written: bool,
    evicted: Option<EvictedParts>,
}

impl OtlpWriter {
    /// Begins the document. If retention has evicted a part of the trace, each resource gets the
    /// attributes `livespan.evicted.events` and `livespan.evicted.spans`, because OTLP has no field
    /// for this.
    pub(crate) fn begin(out: &mut Vec<u8>, evicted: Option<EvictedParts>) -> Self {
        out.extend_from_slice(b"{\"resourceSpans\":[");
        Self {
            evicted,
            ..Self::default()
        }
    }

    /// Records the attributes of a process. Must be called before the first span of that process is added.
    pub(crate) fn process(&mut self, payload: &[u8]) {
        if let Some(process) = parse::event(payload) {
            let attributes = attributes(&process.resource, &process.attribute_types);
            self.processes.insert(process.process, attributes);
        }
    }

    pub(crate) fn ended(&mut self, payload: &[u8]) {
        let Some(span) = parse::event(payload) else {
            return;
        };
        let place = self.place_of(&span);
        let Some(resource) = self.resources.get_mut(place) else {
            return;
        };
        let scope = (place, span.scope.clone(), span.scope_version.clone());
        let scope = *self.scopes.entry(scope).or_insert_with(|| {
            resource.scopes.push(OtlpScope {
                scope: scope_of(&span),
                spans: Vec::new(),
            });
            resource.scopes.len() - 1
        });
        if let Some(scope) = resource.scopes.get_mut(scope) {
            let before = scope.spans.len();
            separated(&mut scope.spans, &span_of(&span));
            self.size += scope.spans.len() - before;
        }
    }

    /// Returns the index of the span's process in the batch.
    fn place_of(&mut self, span: &Parsed) -> usize {
        if let Some(place) = self.places.get(&span.process) {
            return *place;
        }
        let named = || vec![attribute("service.name", &json!(span.service), None)];
        let attributes = self.processes.get(&span.process).cloned();
        let mut attributes = attributes.unwrap_or_else(named);
        attributes.extend(evicted_attributes(self.evicted));
        self.resources.push(Resource {
            attributes,
            scopes: Vec::new(),
        });
        let place = self.resources.len() - 1;
        self.places.insert(span.process.clone(), place);
        place
    }

    /// Returns the size in bytes of the spans that are not written yet.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Writes the spans that were added since the last call.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        self.places.clear();
        self.scopes.clear();
        self.size = 0;
        for resource in std::mem::take(&mut self.resources) {
            let comma = if self.has_written { "," } else { "" };
            self.has_written = true;
            let attributes = Json::from(resource.attributes);
            let head =
                format!("{comma}{{\"resource\":{{\"attributes\":{attributes}}},\"scopeSpans\":[");
            out.extend_from_slice(head.as_bytes());
            for (index, scope) in resource.scopes.into_iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let head = format!("{comma}{{\"scope\":{},\"spans\":[", scope.scope);
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(&scope.spans);
                out.extend_from_slice(b"]}");
            }
            out.extend_from_slice(b"]}");
        }
    }

    /// Writes the remaining spans and closes the array. The caller adds its own fields and closes the object.
    pub(crate) fn end(mut self, out: &mut Vec<u8>) {
        self.write(out);
        out.push(b']');
    }
}

fn evicted_attributes(evicted: Option<EvictedParts>) -> impl Iterator<Item = Json> {
    let events = evicted.map(|evicted| ("livespan.evicted.events", evicted.events));
    let spans = evicted.and_then(|evicted| evicted.spans);
    let spans = spans.map(|spans| ("livespan.evicted.spans", spans));
    let both = events.into_iter().chain(spans);
    both.map(|(key, count)| attribute(key, &json!(count), None))
}

/// Appends a value to the elements of a JSON array, after a comma if needed.
fn separated(out: &mut Vec<u8>, value: &Json) {
    if !out.is_empty() {
        out.push(b',');
    }
    // Writing to a `Vec` cannot fail, and a `Json` value has text keys only, so no error is lost here.
    drop(serde_json::to_writer(out, value));
}

fn scope_of(span: &Parsed) -> Json {
    match &span.scope_version {
        Some(version) => json!({ "name": span.scope, "version": version }),
        None => json!({ "name": span.scope }),
    }
}

fn span_of(span: &Parsed) -> Json {
    let remote = if span.parent_remote { IS_REMOTE } else { 0 };
    let start = span.start_timestamp.as_deref().unwrap_or(&span.timestamp);
    let mut fields = json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "traceState": span.trace_state.as_deref().unwrap_or_default(),
        "flags": HAS_IS_REMOTE | remote | u32::from(span.sampled),
        "name": span.name,
        "kind": match span.kind.as_str() { "SERVER" => 2, "CLIENT" => 3, "PRODUCER" => 4, "CONSUMER" => 5, _ => 1 },
        "startTimeUnixNano": nanos(start),
        "endTimeUnixNano": nanos(&span.timestamp),
        "attributes": attributes(&span.attributes, &span.attribute_types),
        "events": span.events.iter().map(moment).collect::<Vec<_>>(),
        "links": span.links.iter().map(|link| json!({
            "traceId": link.trace_id,
            "spanId": link.span_id,
            "attributes": attributes(&link.attributes, &link.attribute_types),
        })).collect::<Vec<_>>(),
        "status": status(span),
    });
    if let Some(fields) = fields.as_object_mut() {
        if let (Some(state), Some(Json::Array(attributes))) =
            (unusual_state(span), fields.get_mut("attributes"))
        {
            attributes.push(attribute("livespan.state", &json!(state), None));
        }
        if let Some(parent) = &span.parent_span_id {
            fields.insert("parentSpanId".to_owned(), json!(parent));
        }
        if let Some(dropped) = span.dropped {
            fields.insert(
                "droppedAttributesCount".to_owned(),
                json!(dropped.attributes),
            );
            fields.insert("droppedEventsCount".to_owned(), json!(dropped.events));
            fields.insert("droppedLinksCount".to_owned(), json!(dropped.links));
        }
    }
    fields
}

/// Returns the state of a span, if OTLP has no field for that state.
fn unusual_state(span: &Parsed) -> Option<&'static str> {
    match span {
        Parsed { lost: Some(_), .. } => Some("lost"),
        Parsed {
            cancelled: true, ..
        } => Some("cancelled"),
        Parsed { panicked: true, .. } => Some("panicked"),
        _ => None,
    }
}

fn status(span: &Parsed) -> Json {
    match &span.status {
        Some(status) if status.code == "ERROR" => json!({ "code": 2, "message": status.message }),
        Some(status) if status.explicit => json!({ "code": 1 }),
        _ => json!({}),
    }
}

fn moment(moment: &ParsedMoment) -> Json {
    json!({
        "timeUnixNano": nanos(&moment.timestamp),
        "name": moment.name,
        "attributes": attributes(&moment.attributes, &moment.attribute_types),
    })
}

fn nanos(text: &str) -> String {
    Timestamp::parse(text)
        .unwrap_or_default()
        .nanos()
        .to_string()
}

fn attributes(values: &Map<String, Json>, types: &Map<String, Json>) -> Vec<Json> {
    values
        .iter()
        .map(|(key, value)| attribute(key, value, types.get(key).and_then(Json::as_str)))
        .collect()
}

fn attribute(key: &str, value: &Json, kind: Option<&str>) -> Json {
    json!({ "key": key, "value": any_value(value, kind) })
}

/// Returns OTLP's `AnyValue`, and restores a type that JSON cannot represent. The type of a list is
/// the type of those values in the list that JSON cannot represent; the others may have other
/// types. So the type is applied only to a text that is valid for it.
fn any_value(value: &Json, kind: Option<&str>) -> Json {
    match value {
        Json::String(text) => text_value(text, kind),
        Json::Bool(value) => json!({ "boolValue": value }),
        Json::Number(number) => match number.as_i64() {
            Some(value) => json!({ "intValue": value.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        Json::Array(values) => {
            let kind = kind.map(|kind| kind.trim_end_matches("[]"));
            let values: Vec<Json> = values.iter().map(|value| any_value(value, kind)).collect();
            json!({ "arrayValue": { "values": values } })
        }
        // The wire format has no types for the values of a map.
        Json::Object(values) => {
            json!({ "kvlistValue": { "values": attributes(values, &Map::new()) } })
        }
        Json::Null => json!({}),
    }
}

fn text_value(text: &str, kind: Option<&str>) -> Json {
    match kind {
        Some("int") if text.parse::<i64>().is_ok() => json!({ "intValue": text }),
        // The protobuf JSON mapping also writes these as text.
        Some("double") if matches!(text, "NaN" | "Infinity" | "-Infinity") => {
            json!({ "doubleValue": text })
        }
        Some("bytes") => match hex::decode_all(text) {
            Some(bytes) => json!({ "bytesValue": STANDARD.encode(bytes) }),
            None => json!({ "stringValue": text }),
        },
        _ => json!({ "stringValue": text }),
    }
}
