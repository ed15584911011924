//! Outgoing HTTP calls: each has a client span, and sends the trace context in the request's headers.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use opentelemetry::global;
use opentelemetry_http::HeaderInjector;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{Span, field, instrument};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A service that this program calls.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    client: reqwest::Client,
    base: String,
}

/// The body of every response that is not a success.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
}

#[derive(Debug)]
pub(crate) enum CallError {
    TimedOut {
        path: &'static str,
        timeout: Duration,
    },
    Refused {
        path: &'static str,
        status: StatusCode,
        why: String,
    },
    Failed(reqwest::Error),
}

impl Peer {
    pub(crate) fn new(client: reqwest::Client, base: String) -> Self {
        Self { client, base }
    }

    /// Posts `body` as JSON and reads the response.
    #[instrument(name = "http.client", skip_all, err, fields(
        otel.name = format!("POST {path}"),
        otel.kind = "client",
        http.request.method = "POST",
        url.full = format!("{}{path}", self.base),
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    ))]
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, CallError> {
        let outcome = self.exchange(path, body, timeout).await;
        if let Err(error) = &outcome {
            Span::current().record("error.type", error.kind());
        }
        outcome
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, CallError> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                CallError::TimedOut { path, timeout }
            } else {
                CallError::Failed(error)
            }
        };
        let request = self
            .client
            .post(format!("{}{path}", self.base))
            .headers(trace_context())
            .json(body);
        let response = request.timeout(timeout).send().await.map_err(failed)?;
        let status = response.status();
        Span::current().record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_success() {
            return response.json().await.map_err(failed);
        }
        let problem: Problem = response.json().await.map_err(failed)?;
        Err(CallError::Refused {
            path,
            status,
            why: problem.error,
        })
    }
}

/// Returns the W3C headers with which the callee joins the current trace.
fn trace_context() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
    });
    headers
}

impl CallError {
    fn kind(&self) -> &str {
        match self {
            Self::TimedOut { .. } => "timeout",
            Self::Refused { status, .. } => status.as_str(),
            Self::Failed(_) => "connection",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { path, timeout } => {
                write!(f, "{path} did not answer within {timeout:?}")
            }
            Self::Refused { path, why, .. } => write!(f, "{path} refused: {why}"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::TimedOut { .. } | Self::Refused { .. } => None,
        }
    }
}
