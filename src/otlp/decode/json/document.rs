//! Decodes an OTLP/JSON document. Pure.

use opentelemetry_proto::tonic::{
    logs::v1::{LogsData, ResourceLogs},
    trace::v1::{ResourceSpans, TracesData},
};
use serde::de::DeserializeSeed as _;

use crate::otlp::decode::{
    json::reader::{JsonObject, Object, Path},
    types::DecodeError,
    usage::RequestUsage,
};

pub(in crate::otlp::decode) fn traces(
    body: &[u8],
    usage: &RequestUsage,
) -> Result<Vec<ResourceSpans>, DecodeError> {
    let data: TracesData = read(body, usage)?;
    Ok(data.resource_spans)
}

pub(in crate::otlp::decode) fn logs(
    body: &[u8],
    usage: &RequestUsage,
) -> Result<Vec<ResourceLogs>, DecodeError> {
    let data: LogsData = read(body, usage)?;
    Ok(data.resource_logs)
}

fn read<T: JsonObject>(body: &[u8], usage: &RequestUsage) -> Result<T, DecodeError> {
    let path = Path::new(usage);
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Object::<T>::new(&path)
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    read.map_err(|error| {
        usage
            .error()
            .unwrap_or_else(|| DecodeError::Malformed(path.describe(&error)))
    })
}
