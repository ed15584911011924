//! Cancels an instance that no process is running, by ending the spans that are open in the log. It runs on the
//! caller's task, waits for the log's worker thread and reads the log as any reader does.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::SystemTime};

use bytes::Bytes;
use opentelemetry::{
    Array, KeyValue, Value,
    trace::{Link, SpanContext, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, Value as Json};

use crate::{
    engine::{log::Log, worker::LogRuntime},
    error::Error,
    ingest::{buffer::RecordClass, envelope::Envelope},
    log::event::Pinning,
    reader::{ReadItem, subscription::Subscribe},
    span::{
        event::{SpanId, TraceId},
        json, record,
    },
    trace::parse::{self, Parsed},
    util::time::Timestamp,
    workflow::{
        run::Run,
        span::{bare, links},
    },
};

/// Ends the open workflow spans of the instance as cancelled. Returns their number.
pub(crate) async fn cancel(run: Run, reason: String) -> Result<usize, Error> {
    let run = &run;
    let runtime = &run.sink.parts.runtime;
    // The first call waits for the records that this process pushed before. The second waits for events that the log
    // must append after a store failure, because the encoder appends those only with its next record.
    wait_until_stored(runtime).await?;
    wait_until_stored(runtime).await?;
    let open = open_spans(&runtime.log, run.trace_id).await?;
    let now = Timestamp::now();
    // Children before their parents.
    for (span, started) in open.iter().rev() {
        let Some(ended) = json::cancelled(started, &reason, now) else {
            continue;
        };
        let envelope = Envelope {
            ack: 0,
            name: "ended",
            key: Some(run.trace_id.stream_key()),
            pin: Pinning::Close(span.token()),
            // The span may have ended since `open_spans` read the log.
            once: true,
        };
        runtime
            .push(RecordClass::End, |buf| envelope.write(buf, &ended))
            .await?;
    }
    wait_until_stored(runtime).await?;
    if runtime.log.is_degraded() {
        return Err(Error::store_failed("the event store is failing"));
    }
    if let Some(exporter) = &run.sink.exporter {
        for (span, started) in open.iter().rev() {
            if let Some((parent, mut data)) = span_data(run, *span, started) {
                data.status = Status::error(reason.clone());
                exporter.export(parent, data);
            }
        }
    }
    Ok(open.len())
}

/// Waits until every record that was pushed before this call is stored and visible. Pushes a fence: a record that the
/// worker acknowledges once all records before it are stored.
async fn wait_until_stored(runtime: &LogRuntime) -> Result<(), Error> {
    let mut ack = runtime.buffer.pending_ack();
    let number = ack.number;
    runtime
        .push(RecordClass::Internal, |buf| {
            record::write_fence(buf, number)
        })
        .await?;
    ack.recv().await.map(drop).ok_or_else(Error::closed)
}

/// Returns the ids and `started` payloads of the trace's open workflow spans, in log order. A span that was ended as
/// lost counts as open, because the log does not have its real end.
async fn open_spans(log: &Arc<Log>, trace: TraceId) -> Result<Vec<(SpanId, Bytes)>, Error> {
    let head = log.tail.published();
    let mut reader = Subscribe::to(trace.stream_key()).reader(log);
    let mut spans: HashMap<SpanId, WorkflowSpan> = HashMap::new();
    while let Some(item) = reader.next_below(head).await {
        // Lets other tasks run: if all events are in memory, no other await of this loop is ever pending.
        tokio::task::yield_now().await;
        let slice = match item {
            ReadItem::Events(slice) | ReadItem::OpenGlobal(slice) => slice,
            ReadItem::Degraded => return Err(Error::store_failed("the log cannot be read")),
            ReadItem::Gap(_) | ReadItem::Closed => continue,
        };
        for event in slice.events() {
            let payload = event.payload();
            let Some(span) = parse::span_id(&payload) else {
                continue;
            };
            match event.name() {
                "started" if parse::is_durable(&payload) => {
                    let workflow_span = WorkflowSpan {
                        sequence: event.sequence(),
                        started: payload,
                        is_open: true,
                    };
                    spans.insert(span, workflow_span);
                }
                "ended" => {
                    if let Some(known) = spans.get_mut(&span) {
                        known.is_open = parse::is_lost(&payload);
                    }
                }
                _ => {}
            }
        }
    }
    let mut open: Vec<_> = spans.into_iter().filter(|(_, one)| one.is_open).collect();
    open.sort_by_key(|(_, span)| span.sequence);
    Ok(open
        .into_iter()
        .map(|(id, span)| (id, span.started))
        .collect())
}

/// A workflow span, as read from the log.
struct WorkflowSpan {
    sequence: u64,
    started: Bytes,
    is_open: bool,
}

/// Builds the SDK's span, and its parent, from a `started` payload. The span ends now.
fn span_data(run: &Run, span: SpanId, started: &[u8]) -> Option<(Option<SpanContext>, SpanData)> {
    let parsed = parse::event(started)?;
    let parent = parsed
        .parent_span_id
        .as_ref()
        .and_then(|id| id.parse().ok())
        .map(|id| run.span_context(id));
    let start = Timestamp::parse(&parsed.timestamp)?.to_system_time()?;
    let data = SpanData {
        parent_span_id: parent
            .as_ref()
            .map_or(opentelemetry::SpanId::INVALID, SpanContext::span_id),
        links: links(parsed.links.iter().filter_map(link).collect()),
        attributes: attributes(&parsed),
        name: Cow::Owned(parsed.name),
        start_time: start,
        end_time: SystemTime::now(),
        ..bare(run, span)
    };
    Some((parent, data))
}

fn link(parsed: &parse::ParsedLink) -> Option<Link> {
    let trace: TraceId = parsed.trace_id.parse().ok()?;
    let span: SpanId = parsed.span_id.parse().ok()?;
    let context = SpanContext::new(
        opentelemetry::TraceId::from_bytes(trace.to_bytes()),
        opentelemetry::SpanId::from_bytes(span.to_bytes()),
        TraceFlags::default(),
        true,
        TraceState::NONE,
    );
    let attributes = pairs(&parsed.attributes, &parsed.attribute_types);
    Some(Link::new(context, attributes, 0))
}

fn attributes(parsed: &Parsed) -> Vec<KeyValue> {
    pairs(&parsed.attributes, &parsed.attribute_types)
}

fn pairs(values: &Map<String, Json>, types: &Map<String, Json>) -> Vec<KeyValue> {
    let pairs = values.iter().map(|(key, json)| {
        let kind = types.get(key).and_then(Json::as_str);
        KeyValue::new(key.clone(), value(json, kind))
    });
    pairs.collect()
}

/// Converts a JSON value. `kind` restores a type that JSON does not have.
fn value(json: &Json, kind: Option<&str>) -> Value {
    match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::I64(value),
            None => Value::F64(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => match kind {
            Some("int") => text.parse().map_or(Value::from(text.clone()), Value::I64),
            Some("double") => text.parse().map_or(Value::from(text.clone()), Value::F64),
            _ => Value::from(text.clone()),
        },
        Json::Array(values) => Value::Array(array(values)),
        Json::Null | Json::Object(_) => Value::from(json.to_string()),
    }
}

/// Converts a JSON array. The result is an array of Booleans, integers or floats if all values have that type, or else
/// of strings.
fn array(values: &[Json]) -> Array {
    if let Some(values) = values.iter().map(Json::as_bool).collect() {
        return Array::Bool(values);
    }
    if let Some(values) = values.iter().map(Json::as_i64).collect() {
        return Array::I64(values);
    }
    if let Some(values) = values.iter().map(Json::as_f64).collect() {
        return Array::F64(values);
    }
    let text = |value: &Json| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.into()
    };
    Array::String(values.iter().map(text).collect())
}
