//! A trace as OTLP/JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`; the JSON mapping of the OTLP
//! specification: ids in hex, 64-bit integers as text, enums as numbers). Pure. Spans that have not ended are left out:
//! OTLP has no form for them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::{
    spans::parse::{self, Parsed, ParsedMoment},
    time::Timestamp,
};

/// `SpanFlags`: the parent's remoteness is known, and it is remote.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Export {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Debug, Serialize)]
struct Resource {
    attributes: Vec<Json>,
}

#[derive(Debug, Serialize)]
struct ScopeSpans {
    scope: Json,
    spans: Vec<Json>,
}

/// Groups the ended spans by process and scope.
pub(crate) fn export<'a>(payloads: impl Iterator<Item = &'a Bytes>) -> Export {
    let mut resources: HashMap<String, Vec<Json>> = HashMap::new();
    let mut ended: Vec<Parsed> = Vec::new();
    for event in payloads.filter_map(|payload| parse::event(payload)) {
        match event.kind_of_event.as_str() {
            "process" => {
                resources.insert(event.process, attributes(&event.resource, &event.attribute_types));
            }
            "ended" => ended.push(event),
            _ => {}
        }
    }
    // A real end replaces a lost one, which stands before it.
    let mut seen = HashSet::new();
    let mut spans: Vec<&Parsed> =
        ended.iter().rev().filter(|span| seen.insert(span.span_id.as_ref())).collect();
    spans.reverse();
    let mut export = Export { resource_spans: Vec::new() };
    let mut places: HashMap<&str, usize> = HashMap::new();
    for span in spans {
        let place = *places.entry(&span.process).or_insert_with(|| {
            let attributes = resources.remove(&span.process);
            let attributes = attributes.unwrap_or_else(|| vec![attribute("service.name", &json!(span.service), None)]);
            let resource = Resource { attributes };
            export.resource_spans.push(ResourceSpans { resource, scope_spans: Vec::new() });
            export.resource_spans.len() - 1
        });
        if let Some(group) = export.resource_spans.get_mut(place) {
            group.push(span);
        }
    }
    export
}

impl ResourceSpans {
    fn push(&mut self, span: &Parsed) {
        let mut scope = json!({ "name": span.scope });
        if let (Some(version), Some(fields)) = (&span.scope_version, scope.as_object_mut()) {
            fields.insert("version".to_owned(), json!(version));
        }
        match self.scope_spans.iter_mut().find(|group| group.scope == scope) {
            Some(group) => group.spans.push(span_of(span)),
            None => self.scope_spans.push(ScopeSpans { scope, spans: vec![span_of(span)] }),
        }
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
            fields.insert("droppedAttributesCount".to_owned(), json!(dropped.attributes));
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
    Timestamp::parse(text).unwrap_or_default().nanos().to_string()
}

fn attributes(values: &Map<String, Json>, types: &Map<String, Json>) -> Vec<Json> {
    values.iter().map(|(key, value)| attribute(key, value, types.get(key).and_then(Json::as_str))).collect()
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
