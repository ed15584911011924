//! Open spans that report their progress.

use livespan::SpanEvent;
use serde_json::{Value as Json, json};

use crate::http::app::{App, Frame, at, span, trace};

pub(super) fn started(number: u128) -> SpanEvent {
    SpanEvent::started(trace(number), span(1), "import")
        .service("shop")
        .attribute("progress.total", 90_i64)
        .at(at(0))
}

/// Returns an update with a progress and one further attribute.
pub(super) fn updated(number: u128, current: i64) -> SpanEvent {
    SpanEvent::updated(trace(number), span(1), None)
        .attribute("progress.current", current)
        .attribute(format!("step.{}", current % 3), current)
        .at(at(7))
}

/// Returns the update that merges all updates up to `current`, which is 40.
pub(super) fn merged(number: u128, current: i64) -> Json {
    json!({
        "type": "updated", "traceId": trace(number).to_string(), "spanId": span(1).to_string(), "process": "",
        "attributes": {
            "progress.current": current, "step.1": current, "step.2": current - 2, "step.0": current - 1,
        },
        "timestamp": "2026-01-01T00:00:00.007000000Z",
    })
}

pub(super) fn progress(current: i64) -> Json {
    json!({"current": current, "total": 90, "units": null, "message": null})
}

/// Returns the first `count` updates that a new reader gets.
pub(super) async fn replayed(app: &App, count: usize) -> Vec<Frame> {
    let mut stream = app.stream("/sse?type=updated").await;
    let mut frames = Vec::new();
    while frames.len() < count {
        frames.push(stream.event("updated").await);
    }
    frames
}
