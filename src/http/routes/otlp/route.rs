//! Recognizes OTLP/HTTP requests, and answers them.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Method, Response, StatusCode, header, request::Parts};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    http::{
        auth::cors,
        blocking::run_blocking,
        routes::otlp::{
            answer::{ExportAnswer, OtlpError},
            body, writer_access,
        },
    },
    live_spans::LiveSpans,
    otlp::{
        OtlpReceiver,
        decode::{Format, Signal},
        receiver::{self, Accepted, Receiver},
        request::StoreResult,
    },
};

/// An uncompressed body of at most this many bytes is decoded on the connection's task, which takes a fraction of a
/// millisecond.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// The meaning of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtlpTarget {
    Signal(Signal),
    /// The path occurs twice: the user's endpoint contains it, and the SDK appended it again.
    Doubled(Signal),
    /// The root of the routes, because the user's endpoint lacks `/v1/traces`.
    Root,
    /// A path under `/v1` or `/v1development` that OTLP does not have.
    Unknown,
}

/// Returns the target of the request, if the request is OTLP.
pub(crate) fn target_of(request: &Parts) -> Option<OtlpTarget> {
    let path = request.uri.path().trim_matches('/');
    if path.is_empty() {
        let is_otlp = request.method == Method::POST && format_of(request).is_some();
        return is_otlp.then_some(OtlpTarget::Root);
    }
    if path.starts_with("v1development/") {
        return Some(OtlpTarget::Unknown);
    }
    let rest = path.strip_prefix("v1/")?;
    let (first, doubled) = match rest.split_once('/') {
        None => (rest, None),
        Some((first, doubled)) => (first, Some(doubled)),
    };
    let signal = |name| match name {
        "traces" => Some(Signal::Traces),
        "logs" => Some(Signal::Logs),
        "metrics" => Some(Signal::Metrics),
        _ => None,
    };
    Some(match (signal(first), doubled) {
        (Some(signal), None) => OtlpTarget::Signal(signal),
        // The SDK appended the second path, so the second path names the signal.
        (Some(_), Some(doubled)) => match doubled.strip_prefix("v1/").and_then(signal) {
            Some(signal) => OtlpTarget::Doubled(signal),
            None => OtlpTarget::Unknown,
        },
        (None, _) => OtlpTarget::Unknown,
    })
}

/// Returns the encoding of the body, if it is one of OTLP's encodings.
fn format_of(request: &Parts) -> Option<Format> {
    let value = request.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let value = value.split(';').next()?.trim();
    if value.eq_ignore_ascii_case("application/x-protobuf")
        || value.eq_ignore_ascii_case("application/protobuf")
    {
        Some(Format::Protobuf)
    } else if value.eq_ignore_ascii_case("application/json") {
        Some(Format::Json)
    } else {
        None
    }
}

/// Answers an OTLP request.
pub(crate) async fn answer(
    live: &LiveSpans,
    request: &Parts,
    target: OtlpTarget,
    body: Body,
) -> Response<Body> {
    let Some(receiver) = live.shared.receiver.clone() else {
        let error = OtlpError::new(
            StatusCode::NOT_FOUND,
            "OTLP is not turned on here: set .otlp(OtlpReceiver::default()) on LiveSpans::builder()",
        );
        return error.into_response(format_of(request));
    };
    if cors::is_preflight(request) {
        return writer_access::preflight(live, &receiver, request);
    }
    let format = format_of(request);
    let answered = take(live, &receiver, request, (target, format), body).await;
    let mut response = match answered {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            receiver.refused(&error.message, user_agent(request));
            error.into_response(format)
        }
    };
    writer_access::mark(&receiver, request, &mut response);
    response
}

pub(super) fn user_agent(request: &Parts) -> &str {
    let value = request.headers.get(header::USER_AGENT);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or("unknown")
}

async fn take(
    live: &LiveSpans,
    receiver: &Arc<Receiver>,
    request: &Parts,
    (target, format): (OtlpTarget, Option<Format>),
    body: Body,
) -> Result<ExportAnswer, OtlpError> {
    writer_access::check(live, receiver, request).await?;
    if request.method != Method::POST {
        return Err(OtlpError::new(StatusCode::METHOD_NOT_ALLOWED, WRONG_METHOD));
    }
    let (signal, warning) = match target {
        OtlpTarget::Signal(signal) => (signal, None),
        OtlpTarget::Doubled(signal) => (signal, Some(DOUBLED)),
        OtlpTarget::Root => return Err(OtlpError::new(StatusCode::NOT_FOUND, MISSING_PATH)),
        OtlpTarget::Unknown => return Err(OtlpError::new(StatusCode::NOT_FOUND, UNKNOWN_PATH)),
    };
    let format = format.ok_or_else(|| OtlpError::unsupported(header::ACCEPT, WRONG_TYPE))?;
    let body = body::read(receiver, request, (signal, format), body).await?;
    let Accepted { rejected, stored } = decode(live, receiver, body).await?;
    if let Some(stored) = stored {
        wait_until_stored(stored).await?;
    }
    Ok(ExportAnswer {
        signal,
        format,
        rejected: rejected.count,
        message: match warning {
            Some(warning) if rejected.count == 0 => warning.to_owned(),
            _ => rejected.reason,
        },
    })
}

const DOUBLED: &str = "the path is doubled: set OTEL_EXPORTER_OTLP_ENDPOINT without /v1/traces, because the SDK appends it";
const MISSING_PATH: &str =
    "OTLP is taken at /v1/traces, /v1/logs and /v1/metrics: append one to the URL of the exporter";
const UNKNOWN_PATH: &str = "OTLP is taken at /v1/traces, /v1/logs and /v1/metrics only";
const WRONG_METHOD: &str = "only POST is answered: OTLP is sent here, and read elsewhere";
const WRONG_TYPE: &str = "the content type must be application/x-protobuf or application/json";

pub(super) async fn decode(
    live: &LiveSpans,
    receiver: &Arc<Receiver>,
    body: receiver::Body,
) -> Result<Accepted, OtlpError> {
    let receiver = Arc::clone(receiver);
    let runtime = Arc::clone(&live.shared.parts.runtime);
    let is_small = body.bytes.len() <= INLINE_BYTES_MAX && !body.is_gzip;
    let receive = move || receiver.receive(body, &runtime.buffer);
    let result = if is_small {
        receive()
    } else {
        run_blocking(receive)
            .await
            .map_err(|_stopped| OtlpError::unavailable("the server is shutting down"))?
    };
    result.map_err(OtlpError::from)
}

/// Waits until the store has the accepted data, for at most `STORE_TIMEOUT`. With a durable store, a response of
/// success therefore means that the data survives a restart of this program.
pub(super) async fn wait_until_stored(
    stored: oneshot::Receiver<StoreResult>,
) -> Result<(), OtlpError> {
    let patience: Duration = OtlpReceiver::STORE_TIMEOUT;
    match timeout(patience, stored).await {
        Ok(Ok(result)) if result.is_stored => Ok(()),
        Ok(Ok(_refused)) => Err(OtlpError::unavailable(
            "the event store failed: send it again",
        )),
        Ok(Err(_)) => Err(OtlpError::unavailable("the event log has ended")),
        Err(_elapsed) => Err(OtlpError::unavailable(
            "the event store did not answer in time: send it again",
        )),
    }
}
