//! OTLP over gRPC: the unary calls of the trace and the log service. This code does the framing itself, on hyper's
//! HTTP/2, because it must know the cost of a message before it decompresses and decodes the message. `tonic` would do
//! both first. The calls run on tasks of the connection.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, request::Parts};
use http_body::Frame;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    http::routes::otlp::{
        answer::{ExportAnswer, OtlpError, rpc_status},
        body,
        route::{decode, user_agent, wait_until_stored},
        writer_access,
    },
    live_spans::LiveSpans,
    otlp::{
        decode::{Format, Signal},
        receiver::{self, Accepted},
    },
};

/// The length of a frame's head: one byte of flags and four bytes of message length.
const FRAME_HEAD: usize = 5;
/// Codes of gRPC statuses.
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;
/// `google.rpc.RetryInfo` with a delay of one second. Its field 1 is a duration, whose field 1 is
/// the number of seconds.
const RETRY_AFTER_A_SECOND: &[u8] = &[0x0a, 0x02, 0x08, 0x01];
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// The ASCII characters that are percent-encoded in the header `grpc-message`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Returns whether the request is a call of gRPC.
pub(crate) fn is_grpc(request: &Parts) -> bool {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    request.version == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a call. A failed call is an HTTP success whose headers have the gRPC status.
pub(crate) async fn answer(live: &LiveSpans, request: &Parts, body: Body) -> Response<Body> {
    match call(live, request, body).await {
        Ok(message) => success(&message),
        Err(GrpcError { code, message }) => {
            if let Some(receiver) = &live.shared.receiver {
                receiver.refused(&message, user_agent(request));
            }
            failure(code, &message)
        }
    }
}

struct GrpcError {
    code: u8,
    message: String,
}

impl GrpcError {
    fn unimplemented(message: impl Into<String>) -> Self {
        Self {
            code: UNIMPLEMENTED,
            message: message.into(),
        }
    }

    fn invalid(message: &str) -> Self {
        Self {
            code: 3,
            message: message.to_owned(),
        }
    }
}

impl From<OtlpError> for GrpcError {
    fn from(error: OtlpError) -> Self {
        Self {
            code: error.code(),
            message: error.message,
        }
    }
}

async fn call(live: &LiveSpans, request: &Parts, body: Body) -> Result<Vec<u8>, GrpcError> {
    let signal = signal_of(request.uri.path())?;
    let receiver = live.shared.receiver.as_ref().ok_or_else(|| {
        GrpcError::unimplemented(
            "OTLP is not turned on here: set .otlp(OtlpReceiver::default()) on LiveSpans::builder()",
        )
    })?;
    writer_access::check(live, receiver, request).await?;
    let bytes_max = receiver.config.body_bytes_max.saturating_add(FRAME_HEAD);
    let (mut bytes, memory) = body::read_bytes(receiver, body, bytes_max).await?;
    let is_gzip = take_frame_head(&mut bytes, request)?;
    let body = receiver::Body {
        bytes,
        is_gzip,
        signal,
        format: Format::Protobuf,
        memory,
    };
    let Accepted { rejected, stored } = decode(live, receiver, body).await?;
    if let Some(stored) = stored {
        wait_until_stored(stored).await?;
    }
    let answer = ExportAnswer {
        signal,
        format: Format::Protobuf,
        rejected: rejected.count,
        message: rejected.reason,
    };
    Ok(answer.protobuf())
}

fn signal_of(path: &str) -> Result<Signal, GrpcError> {
    let method = path.strip_prefix("/opentelemetry.proto.collector.");
    match method {
        Some("trace.v1.TraceService/Export") => Ok(Signal::Traces),
        Some("logs.v1.LogsService/Export") => Ok(Signal::Logs),
        Some("metrics.v1.MetricsService/Export") => Ok(Signal::Metrics),
        _ => Err(GrpcError::unimplemented(format!(
            "only spans, log records and metrics of OTLP are taken, not {path}"
        ))),
    }
}

/// Removes the head of the only message in the body. Returns whether the message is compressed.
fn take_frame_head(bytes: &mut Vec<u8>, request: &Parts) -> Result<bool, GrpcError> {
    let Some(([flag, length @ ..], message)) = bytes.split_first_chunk::<FRAME_HEAD>() else {
        return Err(GrpcError::invalid("the call has no message"));
    };
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(message.len()) {
        return Err(GrpcError::invalid("the call is not one whole message"));
    }
    let is_compressed = match flag {
        0 => false,
        1 => true,
        _ => return Err(GrpcError::invalid("the message has an unknown flag")),
    };
    let encoding = request.headers.get("grpc-encoding");
    if is_compressed && encoding.is_none_or(|encoding| encoding != "gzip") {
        return Err(GrpcError::unimplemented(
            "messages may be compressed with gzip only",
        ));
    }
    drop(bytes.drain(..FRAME_HEAD));
    Ok(is_compressed)
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    let encodings = HeaderValue::from_static("identity,gzip");
    headers.insert("grpc-accept-encoding", encodings);
    response
}

fn success(message: &[u8]) -> Response<Body> {
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let frame = [&[0][..], &length, message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = UnaryBody {
        message: Some(frame.into()),
        trailers: Some(trailers),
    };
    head().map(|()| Body::new(body))
}

fn failure(code: u8, message: &str) -> Response<Body> {
    let mut response = head().map(|()| Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    let escaped = utf8_percent_encode(message, ESCAPED).to_string();
    if let Ok(message) = HeaderValue::from_str(&escaped) {
        headers.insert("grpc-message", message);
    }
    if code == UNAVAILABLE {
        let details = base64(&with_retry_info(rpc_status(code, message)));
        if let Ok(details) = HeaderValue::from_str(&details) {
            headers.insert("grpc-status-details-bin", details);
        }
    }
    response
}

/// Appends the delay before a retry: field 3 of a status is an `Any` with a type (1) and a value
/// (2).
fn with_retry_info(mut status: Vec<u8>) -> Vec<u8> {
    let mut any = vec![0x0a];
    let put = |out: &mut Vec<u8>, bytes: &[u8]| {
        prost::encoding::encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    };
    put(&mut any, RETRY_INFO.as_bytes());
    any.push(0x12);
    put(&mut any, RETRY_AFTER_A_SECOND);
    status.push(0x1a);
    put(&mut status, &any);
    status
}

/// Returns base64 without padding, as gRPC writes binary headers.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let value = bits >> (18 - 6 * digit) & 0x3f;
            let digit = DIGITS.get(value as usize).copied().unwrap_or(b'A');
            out.push(char::from(digit));
        }
    }
    out
}

/// One message, then the trailers.
struct UnaryBody {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for UnaryBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.message.take().map(Frame::data);
        let frame = message.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_when_to_try_again() {
        let status = with_retry_info(rpc_status(UNAVAILABLE, "full"));
        let expected = [
            &[0x08, 14, 0x12, 4][..],
            b"full",
            &[0x1a, 48, 0x0a, 40],
            RETRY_INFO.as_bytes(),
            &[0x12, 4, 0x0a, 2, 0x08, 1],
        ];
        assert_eq!(status, expected.concat());
    }

    #[test]
    fn base64_has_no_padding() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
