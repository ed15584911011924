//! `PUT` and `DELETE /traces/{traceId}/keep`: exempts a trace from retention, and ends the exemption. Both change the
//! log, so they need full access and are refused to pages of other origins that are not allowed. The handler runs on
//! the connection's task.

use axum::body::Body;
use http::{Method, Response, StatusCode, request::Parts};
use serde::Serialize;

use crate::{
    http::{
        auth::{
            authorize::{self, AuthError},
            cors, host_check,
        },
        error::HttpError,
        response,
    },
    live_spans::LiveSpans,
    log::retention::KeepError,
    span::event::TraceId,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeepAnswer {
    trace_id: String,
    kept: bool,
}

impl From<KeepError> for HttpError {
    fn from(error: KeepError) -> Self {
        let status = match error {
            KeepError::Unknown => StatusCode::NOT_FOUND,
            KeepError::Unsupported => StatusCode::NOT_IMPLEMENTED,
            KeepError::TooMany => StatusCode::CONFLICT,
            KeepError::TooLarge => StatusCode::INSUFFICIENT_STORAGE,
            KeepError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Returns the trace id as text if this is a request to keep a trace or to stop keeping it.
pub(crate) fn trace_of<'a>(request: &Parts, segments: &[&'a str]) -> Option<&'a str> {
    match segments {
        ["traces", id, "keep"] if matches!(request.method, Method::PUT | Method::DELETE) => {
            Some(id)
        }
        _ => None,
    }
}

pub(crate) async fn answer(
    live: &LiveSpans,
    request: &Parts,
    trace: &str,
) -> Result<Response<Body>, AuthError> {
    let config = &live.shared.access;
    host_check::check_host(config, request)?;
    cors::check_writer(config, request)?;
    let authorization = authorize::authorize(live, request).await?;
    authorization.require_full_access()?;
    let trace: TraceId = trace.parse().map_err(HttpError::from)?;
    let kept = request.method == Method::PUT;
    let live = live.clone();
    let change = move || {
        if kept {
            live.try_keep(trace)
        } else {
            live.try_stop_keeping(trace)
                .map(drop)
                .map_err(KeepError::Store)
        }
    };
    let changed = tokio::task::spawn_blocking(change).await;
    changed
        .map_err(|_panic| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "the store panicked"))?
        .map_err(HttpError::from)?;
    Ok(response::json(&KeepAnswer {
        trace_id: trace.to_string(),
        kept,
    }))
}
