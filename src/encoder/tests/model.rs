//! The naive model: the payload that `serde_json` would write for a span.

use opentelemetry::Array;
use opentelemetry::KeyValue;
use opentelemetry::StringValue;
use opentelemetry::Value as OtelValue;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::Status as OtelStatus;
use opentelemetry_sdk::trace::SpanData;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use crate::encoder::tests::payloads::PROCESS;
use crate::encoder::tests::payloads::SERVICE;
use crate::span::json;
use crate::span::json::VALUE_BYTES_MAX;
use crate::util::time::Timestamp;

pub(super) fn model_array<T>(
    values: &[T],
    one: impl Fn(&T) -> (Json, Option<&'static str>),
    kind: &'static str,
) -> (Json, Option<&'static str>) {
    let (values, kinds): (Vec<Json>, Vec<_>) = values.iter().map(one).unzip();
    (
        Json::Array(values),
        kinds.iter().any(Option::is_some).then_some(kind),
    )
}

pub(super) fn model_value(value: &OtelValue) -> (Json, Option<&'static str>) {
    let int = |value: &i64| {
        let safe = value.unsigned_abs() < 1 << 53;
        if safe {
            (json!(value), None)
        } else {
            (json!(value.to_string()), Some("int"))
        }
    };
    let float = |value: &f64| match value {
        value if value.is_nan() => (json!("NaN"), Some("double")),
        value if value.is_infinite() => (
            json!(if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
            Some("double"),
        ),
        // serde_json parses this text and the payload alike, so its rounding cannot make them differ.
        value => (serde_json::from_str(&format!("{value:?}")).unwrap(), None),
    };
    match value {
        OtelValue::Bool(value) => (json!(value), None),
        OtelValue::I64(value) => int(value),
        OtelValue::F64(value) => float(value),
        OtelValue::String(value) => (json!(value.as_str()), None),
        OtelValue::Array(Array::Bool(values)) => (json!(values), None),
        OtelValue::Array(Array::I64(values)) => model_array(values, int, "int[]"),
        OtelValue::Array(Array::F64(values)) => model_array(values, float, "double[]"),
        OtelValue::Array(Array::String(values)) => (
            json!(values.iter().map(StringValue::as_str).collect::<Vec<_>>()),
            None,
        ),
        other => panic!("{other:?} is not a value of this SDK"),
    }
}

pub(super) fn model_attributes(into: &mut Map<String, Json>, pairs: &[KeyValue]) {
    let mut values = Map::new();
    let mut types = Map::new();
    for pair in pairs {
        let (value, kind) = model_value(&pair.value);
        let key = pair.key.as_str().to_owned();
        match kind {
            Some(kind) => types.insert(key.clone(), json!(kind)),
            None => types.remove(&key),
        };
        values.insert(key, value);
    }
    into.insert("attributes".to_owned(), Json::Object(values));
    if !types.is_empty() {
        into.insert("attributeTypes".to_owned(), Json::Object(types));
    }
}

pub(super) fn model_time(time: std::time::SystemTime) -> Json {
    json!(Timestamp::from(time).text())
}

#[expect(clippy::too_many_lines, reason = "it is one flat list of fields")]
pub(super) fn model(span: &SpanData, ended: bool) -> Json {
    let context = &span.span_context;
    let parent = span.parent_span_id;
    let mut event = json!({
        "type": if ended { "ended" } else { "started" },
        "traceId": context.trace_id().to_string(),
        "spanId": context.span_id().to_string(),
        "parentSpanId": if parent == SpanId::INVALID { Json::Null } else { json!(parent.to_string()) },
        "name": span.name,
        "kind": format!("{:?}", span.span_kind).to_uppercase(),
        "process": PROCESS,
        "service": SERVICE,
        "scope": span.instrumentation_scope.name(),
        "timestamp": model_time(if ended { span.end_time } else { span.start_time }),
    });
    let fields = event.as_object_mut().unwrap();
    model_attributes(fields, &span.attributes);
    if ended {
        fields.insert("startTimestamp".to_owned(), model_time(span.start_time));
        let status = match &span.status {
            OtelStatus::Unset => json!({"code": "OK"}),
            OtelStatus::Ok => json!({"code": "OK", "explicit": true}),
            OtelStatus::Error { description } if description.is_empty() => json!({"code": "ERROR"}),
            OtelStatus::Error { description } => json!({"code": "ERROR", "message": description}),
        };
        fields.insert("status".to_owned(), status);
        if !span.events.is_empty() {
            let events = span.events.iter().map(|event| {
                let mut fields = Map::new();
                fields.insert("name".to_owned(), json!(event.name));
                fields.insert("timestamp".to_owned(), model_time(event.timestamp));
                model_attributes(&mut fields, &event.attributes);
                Json::Object(fields)
            });
            fields.insert("events".to_owned(), events.collect());
        }
    }
    if !span.links.is_empty() {
        let links = span.links.iter().map(|link| {
            let mut fields = Map::new();
            fields.insert(
                "traceId".to_owned(),
                json!(link.span_context.trace_id().to_string()),
            );
            fields.insert(
                "spanId".to_owned(),
                json!(link.span_context.span_id().to_string()),
            );
            model_attributes(&mut fields, &link.attributes);
            Json::Object(fields)
        });
        fields.insert("links".to_owned(), links.collect());
    }
    let mut set = |key: &str, when: bool, value: Json| {
        if when {
            fields.insert(key.to_owned(), value);
        }
    };
    set("parentRemote", span.parent_span_is_remote, json!(true));
    set("sampled", !context.is_sampled(), json!(false));
    let state = context.trace_state().header();
    set("traceState", !state.is_empty(), json!(state));
    let version = span.instrumentation_scope.version().unwrap_or_default();
    set("scopeVersion", !version.is_empty(), json!(version));
    let (events, links) = if ended {
        (span.events.dropped_count, span.links.dropped_count)
    } else {
        (0, 0)
    };
    let dropped =
        json!({"attributes": span.dropped_attributes_count, "events": events, "links": links});
    set(
        "dropped",
        span.dropped_attributes_count > 0 || events > 0 || links > 0,
        dropped,
    );
    event
}

/// Returns the top-level fields that the scanner finds, with their values parsed by serde, and the number of fields.
pub(super) fn raw_fields(payload: &[u8]) -> (Map<String, Json>, usize) {
    let mut all = Map::new();
    let mut count = 0;
    for (key, value) in json::fields(payload) {
        let key = format!("\"{}\"", std::str::from_utf8(key).unwrap());
        all.insert(
            serde_json::from_str(&key).unwrap(),
            serde_json::from_slice(value).unwrap(),
        );
        count += 1;
    }
    (all, count)
}

/// Returns whether every text, key and array of an event is within its bound.
pub(super) fn is_within_bounds(value: &Json) -> bool {
    match value {
        Json::String(text) => text.len() <= VALUE_BYTES_MAX,
        Json::Array(values) => values.iter().all(is_within_bounds),
        Json::Object(fields) => fields
            .iter()
            .all(|(key, value)| key.len() <= VALUE_BYTES_MAX && is_within_bounds(value)),
        _ => true,
    }
}
