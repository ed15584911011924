//! What is decoded, from what, within which bounds. Plain data.

use opentelemetry_proto::tonic::{logs::v1::ResourceLogs, trace::v1::ResourceSpans};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Logs,
    Metrics,
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A decoded request.
#[derive(Debug)]
pub(crate) enum Decoded {
    Traces(Vec<ResourceSpans>),
    Logs(Vec<ResourceLogs>),
    /// Metrics are accepted and left out.
    Metrics,
}

/// The reason why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The body is not what its type says. The message says where and why.
    Malformed(String),
    /// It exceeds a bound.
    TooLarge(String),
}

/// The bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodeLimits {
    /// Spans or log records.
    pub(crate) items_max: usize,
    /// Memory of the decoded request.
    pub(crate) memory_bytes_max: usize,
}
