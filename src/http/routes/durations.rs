//! `GET /stats/durations`: the durations of ended spans with one name. It runs on the connection's
//! task and reads the trace index.

use axum::body::Body;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::{
    http::{error::HttpError, query_params::QueryParams, response},
    live_spans::LiveSpans,
    trace::summary::milliseconds,
};

#[derive(Serialize)]
struct DurationStats<'a> {
    service: &'a str,
    name: &'a str,
    count: u64,
    p50: Option<f64>,
    p95: Option<f64>,
    unit: &'static str,
}

pub(crate) fn durations(
    live: &LiveSpans,
    params: &QueryParams<'_>,
) -> Result<Response<Body>, HttpError> {
    let (Some(service), Some(name)) = (params.one("service")?, params.one("name")?) else {
        let message = "the parameters service and name are both needed";
        return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
    };
    let operation = live.shared.index.operation(service, name);
    let durations = operation.map(|operation| operation.durations());
    let durations = durations.unwrap_or_default();
    let quantile = |percent| durations.quantile(percent).map(milliseconds);
    Ok(response::json(&DurationStats {
        service,
        name,
        count: durations.count(),
        p50: quantile(50),
        p95: quantile(95),
        unit: "ms",
    }))
}
