//! A trace as OTLP/JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`; the JSON mapping of the OTLP
//! specification: ids in hex, 64-bit integers as text, enums as numbers). Pure. Spans that have not ended are left out:
//! OTLP has no form for them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use crate::{
    trace::parse::{self, Parsed, ParsedMoment},
    util::time::Timestamp,
};

/// `SpanFlags`: the parent's remoteness is known, and it is remote.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The spans of one process.
struct Resource {
    attributes: Vec<Json>,
    scopes: Vec<OtlpScope>,
}

/// Those of them that one instrumentation scope made, as JSON already: much smaller than what it is made from.
struct OtlpScope {
    scope: Json,
    spans: Vec<u8>,
}

/// The ended spans, grouped by process and scope, as the pieces of one JSON text.
pub(crate) fn export(events: &[(String, Bytes)]) -> VecDeque<Bytes> {
    let ends = ends(events);
    let mut processes = HashMap::new();
    let mut resources: Vec<Resource> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut scopes: HashMap<(usize, String, Option<String>), usize> = HashMap::new();
    for (index, (name, payload)) in events.iter().enumerate() {
        let is_wanted =
            || parse::span_of(payload).is_some_and(|span| ends.get(&span) == Some(&index));
        if name == "process" {
            if let Some(process) = parse::event(payload) {
                processes.insert(
                    process.process,
                    attributes(&process.resource, &process.attribute_types),
                );
            }
        } else if name == "ended" && is_wanted() {
            let Some(span) = parse::event(payload) else {
                continue;
            };
            let place = *places.entry(span.process.clone()).or_insert_with(|| {
                let named = || vec![attribute("service.name", &json!(span.service), None)];
                let attributes = processes.remove(&span.process).unwrap_or_else(named);
                resources.push(Resource {
                    attributes,
                    scopes: Vec::new(),
                });
                resources.len() - 1
            });
            let Some(resource) = resources.get_mut(place) else {
                continue;
            };
            let scope = (place, span.scope.clone(), span.scope_version.clone());
            let scope = *scopes.entry(scope).or_insert_with(|| {
                resource.scopes.push(OtlpScope {
                    scope: scope_of(&span),
                    spans: Vec::new(),
                });
                resource.scopes.len() - 1
            });
            if let Some(scope) = resource.scopes.get_mut(scope) {
                separated(&mut scope.spans, &span_of(&span));
            }
        }
    }
    text(resources)
}

/// Which end of each span counts, by its place among the events. A lost end does not when the span goes on after it.
fn ends(events: &[(String, Bytes)]) -> HashMap<Bytes, usize> {
    let mut ends: HashMap<Bytes, usize> = HashMap::new();
    for (index, (name, payload)) in events.iter().enumerate() {
        let Some(span) = parse::span_of(payload) else {
            continue;
        };
        let earlier = ends.get(&span).and_then(|end| events.get(*end));
        match name.as_str() {
            "ended" if earlier.is_none_or(|(_, end)| parse::replaces(payload, end)) => {
                ends.insert(span, index);
            }
            "started" if earlier.is_some_and(|(_, end)| parse::is_lost(end)) => {
                ends.remove(&span);
            }
            _ => {}
        }
    }
    ends
}

fn text(resources: Vec<Resource>) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::from([Bytes::from_static(b"{\"resourceSpans\":[")]);
    for (index, resource) in resources.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let attributes = Json::from(resource.attributes);
        pieces.push_back(
            format!("{comma}{{\"resource\":{{\"attributes\":{attributes}}},\"scopeSpans\":[")
                .into(),
        );
        for (index, scope) in resource.scopes.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            pieces.push_back(format!("{comma}{{\"scope\":{},\"spans\":[", scope.scope).into());
            pieces.push_back(scope.spans.into());
            pieces.push_back(Bytes::from_static(b"]}"));
        }
        pieces.push_back(Bytes::from_static(b"]}"));
    }
    pieces.push_back(Bytes::from_static(b"]}"));
    pieces
}

/// Appends a value to those of a JSON array.
fn separated(out: &mut Vec<u8>, value: &Json) {
    if !out.is_empty() {
        out.push(b',');
    }
    // A Vec takes every write, and a value in memory has text for keys, so there is no error to lose.
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

/// OTLP's `AnyValue`, with the type that JSON could not carry restored.
fn any_value(value: &Json, kind: Option<&str>) -> Json {
    match (value, kind) {
        (Json::String(text), Some("int")) => json!({ "intValue": text }),
        // The protobuf JSON mapping writes these as text too.
        (Json::String(text), Some("double")) => json!({ "doubleValue": text }),
        (Json::String(text), _) => json!({ "stringValue": text }),
        (Json::Bool(value), _) => json!({ "boolValue": value }),
        (Json::Number(number), _) => match number.as_i64() {
            Some(value) => json!({ "intValue": value.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        (Json::Array(values), _) => {
            let kind = kind.map(|kind| kind.trim_end_matches("[]"));
            let values: Vec<Json> = values.iter().map(|value| any_value(value, kind)).collect();
            json!({ "arrayValue": { "values": values } })
        }
        (Json::Null | Json::Object(_), _) => json!({}),
    }
}
