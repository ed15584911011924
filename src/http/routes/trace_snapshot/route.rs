//! Answers `GET /traces/{id}`: checks that the trace exists, and selects the format. A separate
//! task on the connection's runtime writes the response.

use std::{collections::HashSet, sync::Arc};

use axum::body::Body;
#[cfg(feature = "dashboard")]
use http::{HeaderValue, header};
use http::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

#[cfg(feature = "dashboard")]
use crate::http::routes::trace_snapshot::html;
use crate::{
    http::{
        auth::authorize::Authorization,
        error::HttpError,
        query_params::QueryParams,
        routes::trace_snapshot::{document, lines, overview::Snapshot, read::TraceEvents},
        task_body::written_by,
    },
    live_spans::LiveSpans,
    span::event::TraceId,
    trace::summary::EvictedParts,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SnapshotFormat {
    Json,
    Jsonl,
    Otlp,
    Html,
}

impl SnapshotFormat {
    fn of(params: &QueryParams<'_>) -> Result<Self, HttpError> {
        match params.one("format")? {
            None | Some("json") => Ok(Self::Json),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("otlp") => Ok(Self::Otlp),
            Some("html") => Ok(Self::Html),
            Some(other) => {
                let message = format!("the format {other:?} is not one of json, jsonl, otlp, html");
                Err(HttpError::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

/// Answers a request for one trace.
pub(crate) async fn answer(
    live: &LiveSpans,
    trace: TraceId,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    authorization.require_trace(trace)?;
    let format = SnapshotFormat::of(params)?;
    let permit = permit(live).await?;
    let snapshot = snapshot(live, trace, authorization.traces()).await?;
    Ok(match format {
        SnapshotFormat::Json => written_by("application/json", |body| async move {
            let _permit = permit;
            document::write(snapshot, body).await
        }),
        SnapshotFormat::Jsonl => written_by("application/x-ndjson", |body| async move {
            let _permit = permit;
            lines::write_jsonl(snapshot, body).await
        }),
        SnapshotFormat::Otlp => written_by("application/json", |body| async move {
            let _permit = permit;
            lines::write_otlp(snapshot, body).await
        }),
        SnapshotFormat::Html => file(&format!("trace-{trace}.html"), vec![snapshot], permit)?,
    })
}

/// Answers a request for several traces in one file.
pub(crate) async fn answer_file(
    live: &LiveSpans,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    let mut traces = params.trace_ids()?;
    if traces.is_empty() {
        let message = "a file needs at least one parameter traceId";
        return Err(HttpError::new(StatusCode::BAD_REQUEST, message));
    }
    let mut known = HashSet::new();
    traces.retain(|trace| known.insert(*trace));
    for trace in &traces {
        authorization.require_trace(*trace)?;
    }
    let permit = permit(live).await?;
    let mut snapshots = Vec::with_capacity(traces.len());
    for trace in traces {
        snapshots.push(snapshot(live, trace, authorization.traces()).await?);
    }
    file("traces.html", snapshots, permit)
}

/// Returns a file of the given traces, without those that are not in the log.
#[cfg(feature = "testing")]
pub(crate) async fn file_of(
    live: &LiveSpans,
    traces: &[TraceId],
) -> Result<Response<Body>, HttpError> {
    let permit = permit(live).await?;
    let mut snapshots = Vec::with_capacity(traces.len());
    for trace in traces {
        // A trace may be evicted at any time. It is then left out.
        snapshots.extend(snapshot(live, *trace, None).await);
    }
    file("traces.html", snapshots, permit)
}

async fn permit(live: &LiveSpans) -> Result<OwnedSemaphorePermit, HttpError> {
    let permit = live.shared.read_permits.for_trace().await;
    permit.ok_or_else(|| {
        let message = format!(
            "{} traces are being read already: try again",
            LiveSpans::TRACES_AT_ONCE_MAX
        );
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })
}

async fn snapshot(
    live: &LiveSpans,
    trace: TraceId,
    within: Option<&Arc<HashSet<TraceId>>>,
) -> Result<Snapshot, HttpError> {
    let unknown = || HttpError::not_found(format!("the trace {trace} is not in the log"));
    let log = live.log();
    // In a shared log, the index has only the traces that this process followed.
    let is_indexed = log.knows(&trace.stream_key()) && !log.is_shared();
    let (events, summary) = if is_indexed {
        let id = trace.to_bytes();
        let summary = live.shared.index.summary(id, |at| log.id(at));
        let summary = summary.ok_or_else(unknown)?;
        let summary = summary.with_kept(&log.kept());
        (TraceEvents::indexed(live, trace), Some(summary))
    } else if log.is_in_memory() {
        return Err(unknown());
    } else {
        let events = TraceEvents::stored(live, trace).await?;
        (events.ok_or_else(unknown)?, None)
    };
    let evicted = log.evicted(trace.stream_key()).await;
    Ok(Snapshot {
        trace,
        events,
        evicted: evicted.and_then(EvictedParts::of),
        summary,
        within: within.map(Arc::clone),
    })
}

/// Returns a file that replays the traces. A browser saves the file instead of showing it, so that the file's scripts
/// never run in this server's origin.
#[cfg(feature = "dashboard")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "without the feature `dashboard` this function returns an error"
)]
fn file(
    name: &str,
    snapshots: Vec<Snapshot>,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, HttpError> {
    let mut response = written_by("text/html; charset=utf-8", |body| async move {
        let _permit = permit;
        html::write(snapshots, body).await
    });
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[cfg(not(feature = "dashboard"))]
fn file(
    _name: &str,
    _snapshots: Vec<Snapshot>,
    _permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, HttpError> {
    let message = "livespan was built without its feature `dashboard`";
    Err(HttpError::not_found(message))
}
