//! Maps an OTLP log record to the fields of our event. Pure.

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, any_value::Value as OtlpValue},
    logs::v1::LogRecord,
    trace::v1::TracesData,
};

use crate::{
    otlp::{
        config::OtlpReceiver,
        decode::{DecodeLimits, decode_document},
        mapping::{
            span::id,
            values::{attributes, text_of, value},
        },
    },
    span::json::LogFields,
    util::time::Timestamp,
};

/// Returns the fields of the event, except process and service. Invalid ids count as absent.
pub(crate) fn log_fields<'a>(
    record: &'a LogRecord,
    scope: Option<&'a InstrumentationScope>,
    received: Timestamp,
) -> LogFields<'a> {
    let time = |nanos: u64| (nanos != 0).then(|| Timestamp::from_nanos(nanos));
    let observed = time(record.observed_time_unix_nano);
    let trace_id = id::<16>(&record.trace_id);
    let severity = u8::try_from(record.severity_number).unwrap_or(0);
    LogFields {
        trace_id,
        // A span id without a trace means nothing.
        span_id: trace_id.and_then(|_| id::<8>(&record.span_id)),
        process: "",
        service: "",
        severity: if severity > 24 { 0 } else { severity },
        severity_text: &record.severity_text,
        body: record.body.as_ref().map(|body| value(body, 0)),
        attributes: attributes(&record.attributes),
        target: "",
        scope: scope.map_or("", |scope| &scope.name),
        event_name: &record.event_name,
        observed,
        time: time(record.time_unix_nano).or(observed).unwrap_or(received),
        truncated: false,
    }
}

/// Returns the open spans in the body of a heartbeat, which a partial-span processor sends as a log
/// record. Returns no spans for a record that reports the stop of such a span, because the ended
/// span itself follows. Returns `None` for any other record, and for a body that cannot be read.
pub(crate) fn partial_spans(record: &LogRecord) -> Option<TracesData> {
    let event = text_of(&record.attributes, "partial.event")?;
    let OtlpValue::StringValue(body) = record.body.as_ref()?.value.as_ref()? else {
        return None;
    };
    let limits = DecodeLimits {
        items_max: 64,
        memory_bytes_max: OtlpReceiver::DEFAULT_BODY_BYTES,
    };
    let mut data = decode_document(body, limits)?;
    if event != "heartbeat" {
        data.resource_spans.clear();
    }
    Some(data)
}
