//! Decodes the body of a request: gzip, then protobuf or JSON. Pure.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};

use crate::otlp::decode::{
    json, protobuf,
    span_view::SpanView,
    trace_request::{self, TraceRequest},
    types::{DecodeError, DecodeLimits, Decoded, Format, Signal},
    usage::{Exceeded, RequestUsage},
};

/// Decompresses a gzip body. More than `bytes_max` decompressed bytes are an error.
pub(crate) fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    MultiGzDecoder::new(body)
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| DecodeError::Malformed(format!("the body is not gzip: {error}")))?;
    if out.len() > bytes_max {
        return Err(DecodeError::TooLarge(format!(
            "the body has more than {bytes_max} bytes after decompression"
        )));
    }
    Ok(out)
}

/// Decodes a body. Calls `of_span` for each span, and keeps the results in the request. Returns the
/// request and the memory that it uses, in bytes.
pub(crate) fn decode<T>(
    body: Vec<u8>,
    (signal, format): (Signal, Format),
    limits: DecodeLimits,
    of_span: impl FnMut(&SpanView<'_>) -> T,
) -> Result<(Decoded<TraceRequest<T>>, usize), DecodeError> {
    let mut usage = RequestUsage::new(limits);
    let decoded = match (signal, format) {
        (Signal::Metrics, _) => Decoded::Metrics,
        (Signal::Traces, Format::Protobuf) => {
            Decoded::Traces(trace_request::read(body, &usage, of_span)?)
        }
        (Signal::Logs, Format::Protobuf) => Decoded::Logs(protobuf::logs(&body, &usage)?),
        (Signal::Traces, Format::Json) => {
            let body = trace_request::encoded(json::traces(&body, &usage)?);
            usage = RequestUsage::new(limits);
            usage
                .bytes(body.len())
                .map_err(|Exceeded| usage.exceeded())?;
            Decoded::Traces(trace_request::read(body, &usage, of_span)?)
        }
        (Signal::Logs, Format::Json) => Decoded::Logs(json::logs(&body, &usage)?),
    };
    Ok((decoded, usage.memory()))
}

/// Decodes an OTLP/JSON document of a file.
pub(crate) fn decode_json(
    body: &[u8],
    signal: Signal,
    limits: DecodeLimits,
) -> Result<Decoded<Vec<ResourceSpans>>, DecodeError> {
    let usage = RequestUsage::new(limits);
    Ok(match signal {
        Signal::Metrics => Decoded::Metrics,
        Signal::Traces => Decoded::Traces(json::traces(body, &usage)?),
        Signal::Logs => Decoded::Logs(json::logs(body, &usage)?),
    })
}

/// Encodes decoded spans in protobuf, and reads them like a request.
pub(crate) fn read_spans<T>(
    spans: Vec<ResourceSpans>,
    limits: DecodeLimits,
    of_span: impl FnMut(&SpanView<'_>) -> T,
) -> Result<TraceRequest<T>, DecodeError> {
    let body = trace_request::encoded(spans);
    trace_request::read(body, &RequestUsage::new(limits), of_span)
}

/// Decodes an OTLP/JSON document inside another text, such as the body of a log record. Returns
/// `None` if the text is invalid or exceeds the limits.
pub(crate) fn decode_document(text: &str, limits: DecodeLimits) -> Option<TracesData> {
    let usage = RequestUsage::new(limits);
    let resource_spans = json::traces(text.as_bytes(), &usage).ok()?;
    Some(TracesData { resource_spans })
}
