//! `GET /running`: the open spans of all traces. It runs on the connection's task.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};

use crate::{
    http::{auth::authorize::Authorization, error::HttpError, query_params::QueryParams, response},
    live_spans::LiveSpans,
    report::running::{collect, text::TextOptions},
    trace::filter::TraceFilter,
    util::time::Timestamp,
};

/// Upper bound on the bytes of the text.
const TEXT_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn answer(
    live: &LiveSpans,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let is_text = match params.one("format")? {
        None | Some("json") => false,
        Some("text") => true,
        Some(other) => {
            let message = format!("the format {other:?} is not one of json, text");
            return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
        }
    };
    let filter = TraceFilter {
        within: authorization.traces().map(Arc::clone),
        ..params.summary_filter()?
    };
    let permit = live.shared.read_permits.for_trace().await;
    let _permit = permit.ok_or_else(|| {
        let message = "too many other reads are in progress: try again";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let report = collect::running(live, &filter, Timestamp::now()).await;
    if !is_text {
        return Ok(response::json(&report));
    }
    let text = report.text(TextOptions {
        bytes_max: TEXT_BYTES_MAX,
        how_to_narrow: "narrow the query by ?q= or ?traceId=, or take all of it as JSON",
    });
    Ok(response::with_type(
        Body::from(text),
        "text/plain; charset=utf-8",
    ))
}
