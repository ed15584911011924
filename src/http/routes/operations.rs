//! `GET /operations`: figures of the operations, by service and span name. It runs on the connection's task and reads
//! the trace index.

use axum::body::Body;
use http::Response;
use serde::Serialize;

use crate::{
    http::{error::HttpError, query_params::QueryParams, response},
    live_spans::LiveSpans,
    trace::operations::{operation::Operation, rate::RateBuckets, summary::OperationSummary},
    util::time::Timestamp,
};

const PAGE_DEFAULT: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationsAnswer {
    operations: Vec<OperationSummary>,
    /// The number of matching operations beyond `limit`.
    more: usize,
    /// The number of ended spans whose names no longer have figures.
    others: u64,
    bucket_seconds: u64,
    /// Spans that ended within this time are always recent. Spans that ended more than twice this
    /// time ago are never recent.
    recent_seconds: u64,
    unit: &'static str,
    now: String,
}

pub(crate) fn page(
    live: &LiveSpans,
    params: &QueryParams<'_>,
) -> Result<Response<Body>, HttpError> {
    let filter = params.operation_filter()?;
    let limit = params.limit(PAGE_DEFAULT)?;
    let now = Timestamp::now();
    let page = live.shared.index.operations_page(&filter, limit, now);
    Ok(response::json(&OperationsAnswer {
        operations: page.operations,
        more: page.more,
        others: page.others,
        bucket_seconds: RateBuckets::SECONDS,
        recent_seconds: Operation::PERIOD_NANOS / 1_000_000_000,
        unit: "ms",
        now: now.text(),
    }))
}
