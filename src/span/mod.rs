//! Span events: their fields, their compact record in the ingest buffer, their JSON and their redaction. Nothing here
//! does I/O, or waits for anything but a short lock. The host's threads write records, and the worker thread makes JSON
//! of them.
//!
//! An app uses [`SpanEvent`] through [`LiveSpans::target`](crate::LiveSpans::target): it can subscribe to the log's
//! events, and dispatch events of spans that no OpenTelemetry SDK made.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing reads some parts")
)]

pub(crate) mod delta;
pub(crate) mod dropped_ends;
pub(crate) mod encoded_event;
pub(crate) mod ending;
pub(crate) mod event;
pub(crate) mod indexed_attributes;
pub(crate) mod json;
pub(crate) mod own_requests;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod redact;
pub(crate) mod root_attributes;
pub(crate) mod severity;
#[cfg(any(feature = "logs", feature = "tracing"))]
pub(crate) mod shown_event;
pub(crate) mod updates;

pub use crate::span::{
    encoded_event::EncodedEvent,
    event::{
        AttributeValue, Attributes, SpanEvent, SpanId, SpanKind, SpanState, SpanStatus, TraceId,
    },
};
