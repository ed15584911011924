//! The span event: what it says, its compact record in the buffer, its JSON, and what of it is redacted.
//! It never blocks and does no I/O. Records are written on the host's threads, JSON on the log's thread.
//!
//! An app meets a [`SpanEvent`] in [`LiveSpans::target`](crate::LiveSpans::target): it can subscribe to those of its own
//! spans, and dispatch some that no OpenTelemetry SDK made.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "read over HTTP only")
)]

pub(crate) mod delta;
pub(crate) mod dropped_ends;
pub(crate) mod event;
pub(crate) mod json;
pub(crate) mod own_requests;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod redact;

pub use crate::span::event::{
    AttributeValue, Attributes, SpanEvent, SpanId, SpanKind, SpanState, SpanStatus, TraceId,
};
