//! The kinds of signals, bodies and decoded requests, and their bounds. Plain data.

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

/// The kind of data in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Logs,
    Metrics,
}

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A decoded request or document. `T` is the type of its spans.
#[derive(Debug)]
pub(crate) enum Decoded<T> {
    Traces(T),
    Logs(Vec<ResourceLogs>),
    /// Metrics, which are accepted and ignored.
    Metrics,
}

/// The reason why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The body is not valid for its content type. The message names the place and the error.
    Malformed(String),
    /// The request exceeds a bound.
    TooLarge(String),
}

/// The bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodeLimits {
    /// Upper bound on the spans or log records.
    pub(crate) items_max: usize,
    /// Upper bound on the memory of the decoded request.
    pub(crate) memory_bytes_max: usize,
}
