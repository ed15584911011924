//! Decodes the body of a request: gzip, then protobuf or JSON. Pure.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::trace::v1::TracesData;

use crate::otlp::decode::{
    json, protobuf,
    types::{DecodeError, DecodeLimits, Decoded, Format, Signal},
    usage::RequestUsage,
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

/// Decodes a body. Returns the request and the memory that it uses, in bytes.
pub(crate) fn decode(
    body: &[u8],
    signal: Signal,
    format: Format,
    limits: DecodeLimits,
) -> Result<(Decoded, usize), DecodeError> {
    let usage = RequestUsage::new(limits);
    let decoded = match (signal, format) {
        (Signal::Metrics, _) => Decoded::Metrics,
        (Signal::Traces, Format::Protobuf) => Decoded::Traces(protobuf::traces(body, &usage)?),
        (Signal::Logs, Format::Protobuf) => Decoded::Logs(protobuf::logs(body, &usage)?),
        (Signal::Traces, Format::Json) => Decoded::Traces(json::traces(body, &usage)?),
        (Signal::Logs, Format::Json) => Decoded::Logs(json::logs(body, &usage)?),
    };
    Ok((decoded, usage.memory()))
}

/// Decodes an OTLP/JSON document inside another text, such as the body of a log record.
pub(crate) fn decode_document(text: &str, limits: DecodeLimits) -> Option<TracesData> {
    let usage = RequestUsage::new(limits);
    let resource_spans = json::traces(text.as_bytes(), &usage).ok()?;
    Some(TracesData { resource_spans })
}
