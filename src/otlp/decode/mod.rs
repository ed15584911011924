//! Decodes the body of a request: spans as views into its protobuf, log records into the structs of
//! `opentelemetry-proto`. The body is untrusted: each part is checked against the bounds before it
//! is allocated, and no input may cause a panic. Pure.

mod attributes;
mod body;
mod json;
mod protobuf;
mod span_view;
mod trace_request;
mod types;
mod usage;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    attributes::keep_last_values,
    body::{decode, decode_document, decode_json, gunzip, read_spans},
    span_view::{LinkView, SpanParts, SpanView},
    trace_request::{SpanBytes, SpanRange, SpansOfResource, TraceRequest},
    types::{DecodeError, DecodeLimits, Decoded, Format, Signal},
};
