//! Answers `GET /traces/{id}`: checks that the trace exists, and selects the format. A task of its own, on the runtime
//! of the connection, writes the answer.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};

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
}

impl SnapshotFormat {
    fn of(params: &QueryParams<'_>) -> Result<Self, HttpError> {
        match params.one("format")? {
            None | Some("json") => Ok(Self::Json),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("otlp") => Ok(Self::Otlp),
            Some(other) => {
                let message = format!("the format {other:?} is not one of json, jsonl, otlp");
                Err(HttpError::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

pub(crate) async fn answer(
    live: &LiveSpans,
    trace: TraceId,
    (params, authorization): (&QueryParams<'_>, &Authorization),
) -> Result<Response<Body>, HttpError> {
    authorization.require_trace(trace)?;
    let format = SnapshotFormat::of(params)?;
    let permit = live.shared.read_permits.for_trace().await;
    let permit = permit.ok_or_else(|| {
        let message = format!(
            "{} traces are being read already: try again",
            LiveSpans::TRACES_AT_ONCE_MAX
        );
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let unknown = || HttpError::not_found(format!("the trace {trace} is not in the log"));
    let log = live.log();
    // In a shared log, the index has only the traces that this process followed.
    let is_indexed = log.knows(&trace.stream_key()) && !log.is_shared();
    let (events, summary) = if is_indexed {
        let id = trace.to_bytes();
        let summary = live.shared.index.summary(id, |at| log.id(at));
        let summary = summary.ok_or_else(unknown)?;
        let summary = summary.with_kept(&log.tail.kept());
        (TraceEvents::indexed(live, trace), Some(summary))
    } else if log.is_in_memory() {
        return Err(unknown());
    } else {
        let events = TraceEvents::stored(live, trace).await?;
        (events.ok_or_else(unknown)?, None)
    };
    let evicted = log.evicted(trace.stream_key()).await;
    let snapshot = Snapshot {
        trace,
        events,
        evicted: evicted.and_then(EvictedParts::of),
        summary,
        within: authorization.traces().map(Arc::clone),
    };
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
    })
}
