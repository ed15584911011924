//! Reads the files of Jaeger's page and the responses of its query service (version 1): traces with
//! their spans and processes. Spans become OTLP spans. Pure.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        Span, Status,
        span::{Event, Link},
    },
};
use serde_json::Value as Json;

use crate::{
    otlp::import::{
        left_out::LeftOut,
        otlp_events::OtlpEvents,
        values::{any_value, attribute, id, kind, list, member, micros, text, text_attribute},
    },
    span::json::{elements, fields},
    util::hash::Map,
};

/// Tags that correspond to fields of an OTLP span.
const FIELD_TAGS: &[&str] = &[
    "span.kind",
    "error",
    "otel.status_code",
    "otel.status_description",
    "otel.scope.name",
    "otel.library.name",
];

/// Turns one trace into events. The trace is compact JSON with `spans` and `processes`. Spans are
/// parsed one at a time.
pub(super) fn add_trace(
    trace: &[u8],
    path: &str,
    events: &mut OtlpEvents,
    push: &mut impl FnMut(Vec<u8>),
) -> Result<(), String> {
    let field = |name: &[u8]| fields(trace).find(|(key, _)| *key == name);
    let mut processes: Map<String, usize> = Map::default();
    for (key, value) in fields(field(b"processes").map_or(&b"{}"[..], |(_, value)| value)) {
        let key = String::from_utf8_lossy(key).into_owned();
        processes.insert(key, events.process_of(Some(&resource_of(&parsed(value)?)?)));
    }
    let spans = field(b"spans").map_or(&b"[]"[..], |(_, value)| value);
    if !spans.starts_with(b"[") && spans != b"null" {
        return Err(format!("{path}.spans is not a list"));
    }
    for (number, span) in elements(spans).enumerate() {
        let path = format!("{path}.spans[{number}]");
        let span = parsed(span)?;
        if !span.is_object() {
            return Err(format!("{path} is not a span"));
        }
        let process = match processes.get(text(member(&span, "processID"))) {
            Some(process) => *process,
            None => events.process_of(Some(&resource_of(member(&span, "process"))?)),
        };
        let warnings = list(member(&span, "warnings"), &format!("{path}.warnings"))?;
        events
            .left_out
            .add(LeftOut::WARNINGS, warnings.len() as u64);
        let (span, scope) = span_of(&span, &path)?;
        events.add_span(process, (&span, Some(&scope)), push);
    }
    Ok(())
}

fn parsed(json: &[u8]) -> Result<Json, String> {
    serde_json::from_slice(json).map_err(|error| format!("not JSON: {error}"))
}

fn resource_of(process: &Json) -> Result<Resource, String> {
    let service = text_attribute("service.name", text(&process["serviceName"]));
    let mut attributes = vec![service];
    attributes.append(&mut tags_of(&process["tags"])?);
    Ok(Resource {
        attributes,
        ..Resource::default()
    })
}

fn tags_of(tags: &Json) -> Result<Vec<KeyValue>, String> {
    let tags = list(tags, "tags")?.iter();
    let tag = |tag: &Json| Some(attribute(tag["key"].as_str()?, tag_value(tag)));
    Ok(tags.filter_map(tag).collect())
}

fn tag_value(tag: &Json) -> AnyValue {
    let value = &tag["value"];
    let number = match (text(&tag["type"]), value) {
        ("int64", Json::String(digits)) => digits.parse().ok().map(Value::IntValue),
        ("float64", Json::String(digits)) => digits.parse().ok().map(Value::DoubleValue),
        ("float64", Json::Number(number)) => number.as_f64().map(Value::DoubleValue),
        _ => None,
    };
    match number {
        Some(value) => AnyValue { value: Some(value) },
        None => any_value(value),
    }
}

fn span_of(json: &Json, path: &str) -> Result<(Span, InstrumentationScope), String> {
    let tags = list(&json["tags"], "tags")?;
    let tag = |name: &str| {
        let mut tags = tags.iter().rev();
        let tag = tags.find(|tag| tag["key"] == name);
        tag.map_or(&Json::Null, |tag| &tag["value"])
    };
    let mut attributes = tags_of(&json["tags"])?;
    attributes.retain(|pair| !FIELD_TAGS.contains(&pair.key.as_str()));
    let trace_id = id(&json["traceID"], 16);
    let references = list(&json["references"], &format!("{path}.references"))?;
    let is_parent =
        |one: &Json| one["refType"] == "CHILD_OF" && id(&one["traceID"], 16) == trace_id;
    let parent = references.iter().position(is_parent);
    let links = references
        .iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != parent)
        .map(|(_, one)| Link {
            trace_id: id(&one["traceID"], 16),
            span_id: id(&one["spanID"], 8),
            ..Link::default()
        });
    let start = micros(&json["startTime"], &format!("{path}.startTime"))?;
    let length = micros(&json["duration"], &format!("{path}.duration"))?;
    let code = text(tag("otel.status_code"));
    let error = tag("error");
    let code = match (error == true || error == "true", code) {
        (true, _) | (_, "ERROR") => 2,
        (_, "OK") => 1,
        _ => 0,
    };
    let parent = parent.and_then(|at| references.get(at));
    let span = Span {
        span_id: id(&json["spanID"], 8),
        parent_span_id: id(
            parent.map_or(&json["parentSpanID"], |one| &one["spanID"]),
            8,
        ),
        name: text(&json["operationName"]).to_owned(),
        kind: kind(tag("span.kind")),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(length),
        attributes,
        events: events_of(&json["logs"], path)?,
        links: links.collect(),
        status: Some(Status {
            code,
            message: text(tag("otel.status_description")).to_owned(),
        }),
        trace_id,
        ..Span::default()
    };
    let scope = [tag("otel.scope.name"), tag("otel.library.name")];
    let scope = scope.iter().find(|name| !name.is_null());
    let scope = InstrumentationScope {
        name: scope.map_or("", |name| text(name)).to_owned(),
        ..InstrumentationScope::default()
    };
    Ok((span, scope))
}

fn events_of(logs: &Json, path: &str) -> Result<Vec<Event>, String> {
    let logs = list(logs, &format!("{path}.logs"))?.iter().enumerate();
    let event = |(number, log): (usize, &Json)| {
        let mut attributes = tags_of(&log["fields"])?;
        let named = |name: &str| {
            let pair = attributes.iter().rev().find(|pair| pair.key == name)?;
            match pair.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) if !text.is_empty() => Some(text.clone()),
                _ => None,
            }
        };
        let name = named("event").or_else(|| named("message"));
        attributes.retain(|pair| pair.key != "event");
        let path = format!("{path}.logs[{number}].timestamp");
        Ok(Event {
            time_unix_nano: micros(&log["timestamp"], &path)?,
            name: name.unwrap_or_else(|| "log".to_owned()),
            attributes,
            ..Event::default()
        })
    };
    logs.map(event).collect()
}
