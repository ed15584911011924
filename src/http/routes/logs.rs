//! `GET /logs`: log records of all traces and outside of traces, newest first, a page at a time. It runs on the
//! connection's task.

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use serde::Serialize;

use crate::{
    http::{
        auth::authorize::Authorization, error::HttpError, query_params::QueryParams, response,
        routes::trace_list,
    },
    live_spans::LiveSpans,
    trace::logs::{
        filter::LogFilter,
        page::{self, LogPage},
    },
    util::time::Timestamp,
};

const PAGE_DEFAULT: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageTail {
    next: Option<String>,
    /// Whether the page is short because searching further would have taken too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopped_early: bool,
    head: String,
    now: String,
}

pub(crate) async fn page(
    live: &LiveSpans,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let filter = LogFilter {
        within: authorization.traces().map(Arc::clone),
        ..params.log_filter()?
    };
    let range = (params.before()?, params.limit(PAGE_DEFAULT)?);
    let index = &live.shared.index;
    // Read before the page, so a stream that continues after this event leaves no hole.
    let head = live.log().head();
    let page = page::page(live.log(), index, &filter, range, async || {
        trace_list::permit(live).await
    })
    .await?;
    Ok(response::with_type(
        Body::from(written(live, &page, head)),
        "application/json",
    ))
}

/// Returns the page as JSON. Each record is the same as on the stream, plus its id.
fn written(live: &LiveSpans, page: &LogPage, head: u64) -> Vec<u8> {
    let log = live.log();
    let mut out = b"{\"logs\":[".to_vec();
    for (index, (sequence, payload)) in page.logs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(payload.strip_suffix(b"}").unwrap_or(payload));
        out.extend_from_slice(format!(",\"id\":\"{}\"}}", log.id(*sequence)).as_bytes());
    }
    out.push(b']');
    let tail = PageTail {
        next: page.next.map(|next| next.to_string()),
        stopped_early: page.stopped_early,
        head: log.id(head).to_string(),
        now: Timestamp::now().text(),
    };
    response::fields(&mut out, b',', &tail);
    out.push(b'}');
    out
}
