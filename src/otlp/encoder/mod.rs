//! Turns requests into events. [`otlp_encoder`] works through the requests, [`spans`] decides whether a span starts,
//! changes or ends. They run on the worker thread. [`preparer`] encodes spans before that, on the threads that decode
//! requests.

mod otlp_encoder;
mod preparer;
mod spans;

pub(in crate::otlp) use self::{otlp_encoder::OtlpEncoder, preparer::SpanPreparer};
