//! Reads the body of a request, within bounds on bytes, memory and time.

use std::sync::Arc;

use axum::body::Body;
use futures_core::Stream as _;
use http::{StatusCode, header, request::Parts};
use tokio::time::timeout;

use crate::{
    http::routes::otlp::answer::OtlpError,
    otlp::{
        OtlpReceiver,
        budget::MemoryShare,
        decode::{Format, Signal},
        receiver::{self, Receiver, Refusal},
    },
};

pub(super) async fn read(
    receiver: &Arc<Receiver>,
    request: &Parts,
    (signal, format): (Signal, Format),
    body: Body,
) -> Result<receiver::Body, OtlpError> {
    let is_gzip = is_gzip(request)?;
    let bytes_max = receiver.config.body_bytes_max;
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let (bytes, memory) = read_bytes(receiver, body, bytes_max).await?;
    Ok(receiver::Body {
        bytes,
        is_gzip,
        signal,
        format,
        memory,
    })
}

/// Reads at most this many bytes.
pub(super) async fn read_bytes(
    receiver: &Receiver,
    body: Body,
    bytes_max: usize,
) -> Result<(Vec<u8>, MemoryShare), OtlpError> {
    let mut memory = receiver.budget.share();
    let mut bytes = Vec::new();
    let mut data = body.into_data_stream();
    let reading = async {
        while let Some(chunk) =
            std::future::poll_fn(|cx| std::pin::Pin::new(&mut data).poll_next(cx)).await
        {
            let chunk = chunk.map_err(|_gone| {
                OtlpError::new(StatusCode::BAD_REQUEST, "the body ends too early")
            })?;
            if bytes.len() + chunk.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            memory.grow(chunk.len()).map_err(Refusal::from)?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    timeout(OtlpReceiver::BODY_TIMEOUT, reading)
        .await
        .map_err(|_elapsed| {
            OtlpError::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            )
        })??;
    Ok((bytes, memory))
}

fn too_large(bytes_max: usize) -> OtlpError {
    OtlpError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {bytes_max} bytes: send fewer spans in a batch"),
    )
}

fn is_gzip(request: &Parts) -> Result<bool, OtlpError> {
    let Some(encoding) = request.headers.get(header::CONTENT_ENCODING) else {
        return Ok(false);
    };
    let encoding = encoding.to_str().unwrap_or_default().trim();
    if encoding.eq_ignore_ascii_case("gzip") {
        Ok(true)
    } else if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        Ok(false)
    } else {
        Err(OtlpError::unsupported(
            header::ACCEPT_ENCODING,
            "the content encoding must be gzip, or none: set OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
        ))
    }
}
