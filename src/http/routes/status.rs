//! `GET /status`: the contents of the log, its dropped events, its readers and the health of its
//! store, as JSON. It runs on the connection's task, and locks only while it copies.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::Response;
use serde::Serialize;

use crate::{
    http::response,
    live_spans::LiveSpans,
    log::retention::Retention,
    util::time::Timestamp,
    wire::control::{Dropped, PROTOCOL, SERVER},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusReport {
    server: &'static str,
    protocol: u32,
    epoch: String,
    oldest: String,
    head: String,
    retained: Retained,
    limits: RetentionLimits,
    dropped: Dropped,
    open_spans: usize,
    unpinned: u64,
    kept_traces: usize,
    subscribers: usize,
    wrong_credentials: u64,
    own_request_spans: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_trace_ends: Option<u64>,
    store: StoreReport,
    #[cfg(feature = "otlp")]
    #[serde(skip_serializing_if = "Option::is_none")]
    otlp: Option<crate::otlp::senders::OtlpReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<&'static str>,
    uptime_seconds: f64,
    now: String,
}

#[derive(Serialize)]
struct Retained {
    events: usize,
    bytes: usize,
    traces: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionLimits {
    events: usize,
    bytes: usize,
    age_seconds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreReport {
    kind: &'static str,
    healthy: bool,
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged_events: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<RetentionLimits>,
}

impl From<Retention> for RetentionLimits {
    fn from(retention: Retention) -> Self {
        Self {
            events: retention.events_max(),
            bytes: retention.bytes_max(),
            age_seconds: retention.age_max().as_secs(),
        }
    }
}

pub(crate) fn status(live: &LiveSpans) -> Response<Body> {
    let status = live.status();
    response::json(&StatusReport {
        server: SERVER,
        protocol: PROTOCOL,
        epoch: status.head.epoch().to_string(),
        oldest: status.oldest.to_string(),
        head: status.head.to_string(),
        retained: Retained {
            events: status.retained_events,
            bytes: status.retained_bytes,
            traces: status.retained_streams,
        },
        limits: status.retention.into(),
        dropped: status.dropped,
        open_spans: status.open,
        unpinned: status.unpinned,
        kept_traces: status.kept_streams,
        subscribers: status.subscribers,
        wrong_credentials: live.shared.invalid_credentials.load(Ordering::Relaxed),
        own_request_spans: live.shared.mounts.hidden(),
        dropped_trace_ends: Some(live.shared.index.ends.dropped()).filter(|count| *count > 0),
        store: StoreReport {
            kind: status.store.kind,
            healthy: status.store.failure.is_none(),
            error: status.store.failure,
            damaged_events: Some(status.store.damaged_events).filter(|count| *count > 0),
            limits: status.store.retention.map(RetentionLimits::from),
        },
        #[cfg(feature = "otlp")]
        otlp: live
            .shared
            .receiver
            .as_ref()
            .map(|receiver| receiver.report()),
        ended: status.ended,
        uptime_seconds: status.uptime.as_secs_f64(),
        now: Timestamp::now().text(),
    })
}
