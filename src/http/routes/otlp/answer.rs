//! The responses of OTLP, in the encoding of the request: an `Export…ServiceResponse`, or a
//! `google.rpc.Status` with the HTTP status and its headers. [`route`](super::route) and
//! [`body`](super::body) decide which one a request gets.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message as _;
use serde::Serialize;

use crate::{
    http::{error::HttpError, response},
    otlp::{
        decode::{Format, Signal},
        receiver::Refusal,
    },
};

/// The response to an accepted request.
#[derive(Debug)]
pub(super) struct ExportAnswer {
    pub(super) signal: Signal,
    pub(super) format: Format,
    pub(super) rejected: u64,
    /// The reason of a rejection, or a warning. Empty if there is neither.
    pub(super) message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_success: Option<JsonPartialSuccess<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonPartialSuccess<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_spans: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_log_records: Option<String>,
    error_message: &'a str,
}

impl ExportAnswer {
    pub(super) fn into_response(self) -> Response<Body> {
        let is_partial = self.rejected > 0 || !self.message.is_empty();
        match self.format {
            Format::Json => {
                // In protobuf's JSON, 64-bit integers are strings.
                let rejected = || Some(self.rejected.to_string());
                let partial_success = is_partial.then(|| JsonPartialSuccess {
                    rejected_spans: (self.signal == Signal::Traces).then(rejected).flatten(),
                    rejected_log_records: (self.signal == Signal::Logs).then(rejected).flatten(),
                    error_message: &self.message,
                });
                response::json(&JsonAnswer { partial_success })
            }
            Format::Protobuf => {
                let bytes = self.protobuf();
                response::with_type(Body::from(bytes), PROTOBUF)
            }
        }
    }

    /// Returns the response in protobuf.
    pub(super) fn protobuf(self) -> Vec<u8> {
        let is_partial = self.rejected > 0 || !self.message.is_empty();
        let rejected = i64::try_from(self.rejected).unwrap_or(i64::MAX);
        let message = self.message;
        match (is_partial, self.signal) {
            (false, _) | (true, Signal::Metrics) => Vec::new(),
            (true, Signal::Traces) => ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message,
                }),
            }
            .encode_to_vec(),
            (true, Signal::Logs) => ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message: message,
                }),
            }
            .encode_to_vec(),
        }
    }
}

const PROTOBUF: &str = "application/x-protobuf";

/// The response to a request that was rejected as a whole.
#[derive(Debug)]
pub(super) struct OtlpError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The header with the supported values, if the request's media type or encoding is not
    /// supported.
    wants: Option<HeaderName>,
}

impl OtlpError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            wants: None,
        }
    }

    /// The value of a header of the request is not supported. `wants` is `Accept` or `Accept-Encoding`.
    pub(super) fn unsupported(wants: HeaderName, message: &str) -> Self {
        Self {
            wants: Some(wants),
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        }
    }

    /// An error after which the sender should try again.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Returns the code of `google.rpc.Code`.
    pub(super) fn code(&self) -> u8 {
        match self.status {
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::REQUEST_TIMEOUT => 4,
            StatusCode::NOT_FOUND => 5,
            StatusCode::PAYLOAD_TOO_LARGE => 8,
            StatusCode::METHOD_NOT_ALLOWED => 12,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            _ => 3,
        }
    }

    pub(super) fn into_response(self, format: Option<Format>) -> Response<Body> {
        #[derive(Serialize)]
        struct RpcStatus<'a> {
            code: u8,
            message: &'a str,
        }
        let mut response = match format {
            Some(Format::Protobuf) => {
                response::with_type(Body::from(rpc_status(self.code(), &self.message)), PROTOBUF)
            }
            Some(Format::Json) | None => response::json(&RpcStatus {
                code: self.code(),
                message: &self.message,
            }),
        };
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => crate::http::error::challenge(headers),
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        if let Some(name) = self.wants {
            let supported = if name == header::ACCEPT {
                "application/x-protobuf, application/json"
            } else {
                "gzip"
            };
            headers.insert(name, HeaderValue::from_static(supported));
        }
        response
    }
}

/// Returns a `google.rpc.Status` in protobuf: the code is field 1, the message field 2.
pub(super) fn rpc_status(code: u8, message: &str) -> Vec<u8> {
    let mut out = vec![0x08, code, 0x12];
    prost::encoding::encode_varint(message.len() as u64, &mut out);
    out.extend_from_slice(message.as_bytes());
    out
}

impl From<HttpError> for OtlpError {
    fn from(error: HttpError) -> Self {
        Self::new(error.status(), error.message())
    }
}

impl From<Refusal> for OtlpError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(message) => Self::new(StatusCode::BAD_REQUEST, message),
            Refusal::TooLarge(message) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, message),
            Refusal::Busy(message) => Self::unavailable(message),
            Refusal::Closed => Self::unavailable("the event log has ended"),
        }
    }
}
