//! Converts spans and log records of the Rust SDK to the expected events of livespan. It does not
//! read the sent bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue, Value as OtelValue,
    logs::AnyValue,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::{logs::in_memory_exporter::LogDataWithResource, trace::SpanData};
use serde_json::{Value, json};

pub(crate) fn ended(span: &SpanData) -> Value {
    let context = &span.span_context;
    let parent = (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_string());
    let mut event = json!({
        "type": "ended",
        "traceId": context.trace_id().to_string(),
        "spanId": context.span_id().to_string(),
        "parentSpanId": parent,
        "name": span.name,
        "kind": kind(&span.span_kind),
        "service": "shop",
        "status": status(&span.status),
        "startTimestamp": time(span.start_time),
        "timestamp": time(span.end_time),
    });
    set_scope(&mut event, &span.instrumentation_scope);
    set_attributes(&mut event, &span.attributes);
    if !context.trace_state().header().is_empty() {
        event["traceState"] = context.trace_state().header().into();
    }
    if span.parent_span_is_remote {
        event["parentRemote"] = true.into();
    }
    let events = span.events.iter().map(|one| {
        let mut event = json!({"name": one.name, "timestamp": time(one.timestamp)});
        set_attributes(&mut event, &one.attributes);
        event
    });
    set_list(&mut event, "events", events.collect());
    let links = span.links.iter().map(|one| {
        let context = &one.span_context;
        let (trace, span) = (context.trace_id(), context.span_id());
        let mut link = json!({"traceId": trace.to_string(), "spanId": span.to_string()});
        set_attributes(&mut link, &one.attributes);
        link
    });
    set_list(&mut event, "links", links.collect());
    let (events, links) = (span.events.dropped_count, span.links.dropped_count);
    let attributes = span.dropped_attributes_count;
    if attributes + events + links > 0 {
        event["dropped"] = json!({"attributes": attributes, "events": events, "links": links});
    }
    event
}

pub(crate) fn log(data: &LogDataWithResource) -> Value {
    let record = &data.record;
    let context = record.trace_context();
    let observed = record.observed_timestamp().unwrap();
    let mut event = json!({
        "type": "log",
        "traceId": context.map(|context| context.trace_id.to_string()),
        "spanId": context.map(|context| context.span_id.to_string()),
        "service": "shop",
        "severityNumber": record.severity_number().map_or(0, |severity| severity as i32),
        "severityText": record.severity_text().or(record.severity_number().map(|severity| severity.name())),
        "attributes": {},
        "timestamp": time(record.timestamp().unwrap_or(observed)),
        "observedTimestamp": time(observed),
    });
    event["scope"] = data.instrumentation.name().into();
    event["body"] = any_value(record.body().unwrap());
    for (key, value) in record.attributes_iter() {
        event["attributes"][key.as_str()] = any_value(value);
    }
    if let Some(name) = record.event_name() {
        event["eventName"] = name.into();
    }
    event
}

fn set_list(event: &mut Value, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        event[name] = list.into();
    }
}

fn set_scope(event: &mut Value, scope: &InstrumentationScope) {
    event["scope"] = scope.name().into();
    if let Some(version) = scope.version() {
        event["scopeVersion"] = version.into();
    }
}

fn set_attributes(event: &mut Value, attributes: &[KeyValue]) {
    event["attributes"] = json!({});
    for KeyValue { key, value, .. } in attributes {
        let (value, kind) = attribute(value);
        event["attributes"][key.as_str()] = value;
        if let Some(kind) = kind {
            event["attributeTypes"][key.as_str()] = kind.into();
        }
    }
}

/// Returns a value, and the name of its type if JSON cannot represent the type.
fn attribute(value: &OtelValue) -> (Value, Option<&'static str>) {
    match value {
        OtelValue::Bool(value) => (json!(value), None),
        OtelValue::I64(value) => integer(*value),
        OtelValue::F64(value) => (json!(value), None),
        OtelValue::String(value) => (json!(value.as_str()), None),
        OtelValue::Array(Array::Bool(values)) => (json!(values), None),
        OtelValue::Array(Array::F64(values)) => (json!(values), None),
        OtelValue::Array(Array::String(values)) => {
            let values = values.iter().map(StringValue::as_str);
            (values.collect(), None)
        }
        OtelValue::Array(Array::I64(values)) => {
            let is_large = values.iter().any(|value| integer(*value).1.is_some());
            let values = values.iter().map(|value| integer(*value).0);
            (values.collect(), is_large.then_some("int[]"))
        }
        other => panic!("the tests send no {other:?}"),
    }
}

fn any_value(value: &AnyValue) -> Value {
    match value {
        AnyValue::Int(value) => json!(value),
        AnyValue::String(value) => json!(value.as_str()),
        AnyValue::Bytes(bytes) => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>().into()
        }
        other => panic!("the tests send no {other:?}"),
    }
}

fn integer(value: i64) -> (Value, Option<&'static str>) {
    if value.unsigned_abs() < 1 << 53 {
        (json!(value), None)
    } else {
        (json!(value.to_string()), Some("int"))
    }
}

fn kind(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "CLIENT",
        SpanKind::Server => "SERVER",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
        SpanKind::Internal => "INTERNAL",
    }
}

fn status(status: &Status) -> Value {
    match status {
        Status::Unset => json!({"code": "OK"}),
        Status::Ok => json!({"code": "OK", "explicit": true}),
        Status::Error { description } => json!({"code": "ERROR", "message": description}),
    }
}

/// Returns the time as RFC 3339 in UTC with nine decimals. The date is computed by Howard Hinnant's
/// `civil_from_days`.
fn time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}
