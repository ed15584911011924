//! The JSON fields of OTLP's messages. Pure.

use opentelemetry_proto::tonic::{
    common::v1::{ArrayValue, InstrumentationScope, KeyValueList},
    logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use serde::de::MapAccess;

use crate::otlp::decode::{
    json::reader::{JsonObject, Path},
    usage::{Exceeded, RequestUsage},
};

const KINDS: (&str, &[&str]) = (
    "SPAN_KIND_",
    &[
        "UNSPECIFIED",
        "INTERNAL",
        "SERVER",
        "CLIENT",
        "PRODUCER",
        "CONSUMER",
    ],
);
const CODES: (&str, &[&str]) = ("STATUS_CODE_", &["UNSET", "OK", "ERROR"]);
const SEVERITIES: (&str, &[&str]) = (
    "SEVERITY_NUMBER_",
    &[
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ],
);

/// Reads each named JSON field into the struct field after it, with the given method of [`Path`].
macro_rules! message {
    ($type:ty { $($key:literal => $field:ident: $read:ident $(($($argument:expr),*))?,)* } $($count:item)?) => {
        impl JsonObject for $type {
            fn read_field<'de, A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
                path: &Path<'_>,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => self.$field = path.$read($key, map $(, $($argument),*)?)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            $($count)?
        }
    };
}

message!(TracesData {
    "resourceSpans" => resource_spans: list,
    // The name in Tempo's files.
    "batches" => resource_spans: list,
});

message!(ResourceSpans {
    "resource" => resource: message,
    "scopeSpans" => scope_spans: list,
    // The name before OTLP 0.15.
    "instrumentationLibrarySpans" => scope_spans: list,
    "schemaUrl" => schema_url: text,
});

message!(ArrayValue {
    "values" => values: list,
});

message!(KeyValueList {
    "values" => values: list,
});

message!(Resource {
    "attributes" => attributes: list,
    "droppedAttributesCount" => dropped_attributes_count: count,
});

message!(ScopeSpans {
    "scope" => scope: message,
    "instrumentationLibrary" => scope: message,
    "spans" => spans: list,
    "schemaUrl" => schema_url: text,
});

message!(InstrumentationScope {
    "name" => name: text,
    "version" => version: text,
});

message!(Span {
    "traceId" => trace_id: id(16),
    "spanId" => span_id: id(8),
    "traceState" => trace_state: text,
    "parentSpanId" => parent_span_id: id(8),
    "flags" => flags: count,
    "name" => name: text,
    "kind" => kind: choice(KINDS),
    "startTimeUnixNano" => start_time_unix_nano: time,
    "endTimeUnixNano" => end_time_unix_nano: time,
    "attributes" => attributes: list,
    "droppedAttributesCount" => dropped_attributes_count: count,
    "events" => events: list,
    "droppedEventsCount" => dropped_events_count: count,
    "links" => links: list,
    "droppedLinksCount" => dropped_links_count: count,
    "status" => status: message,
}
    fn count(usage: &RequestUsage) -> Result<(), Exceeded> {
        usage.item(size_of::<Self>())
    }
);

message!(Event {
    "timeUnixNano" => time_unix_nano: time,
    "name" => name: text,
    "attributes" => attributes: list,
    "droppedAttributesCount" => dropped_attributes_count: count,
});

message!(Link {
    "traceId" => trace_id: id(16),
    "spanId" => span_id: id(8),
    "traceState" => trace_state: text,
    "attributes" => attributes: list,
    "droppedAttributesCount" => dropped_attributes_count: count,
    "flags" => flags: count,
});

message!(Status {
    "message" => message: text,
    "code" => code: choice(CODES),
});

message!(LogsData {
    "resourceLogs" => resource_logs: list,
});

message!(ResourceLogs {
    "resource" => resource: message,
    "scopeLogs" => scope_logs: list,
    "schemaUrl" => schema_url: text,
});

message!(ScopeLogs {
    "scope" => scope: message,
    "logRecords" => log_records: list,
    "schemaUrl" => schema_url: text,
});

message!(LogRecord {
    "timeUnixNano" => time_unix_nano: time,
    "observedTimeUnixNano" => observed_time_unix_nano: time,
    "severityNumber" => severity_number: choice(SEVERITIES),
    "severityText" => severity_text: text,
    "body" => body: message,
    "attributes" => attributes: list,
    "droppedAttributesCount" => dropped_attributes_count: count,
    "flags" => flags: count,
    "traceId" => trace_id: id(16),
    "spanId" => span_id: id(8),
    "eventName" => event_name: text,
}
    fn count(usage: &RequestUsage) -> Result<(), Exceeded> {
        usage.item(size_of::<Self>())
    }
);
