//! Writes a trace as JSON Lines (our events, one per line) or as OTLP/JSON. Both are written in a single pass over the
//! events. If the format or a restricted reader needs the overview, earlier passes read it. It runs on the task that
//! writes the response.

use serde::Serialize;

use crate::{
    access::projection,
    http::{
        response,
        routes::{
            otlp_json::OtlpWriter,
            trace_snapshot::{
                document,
                overview::{Overview, Snapshot, span_of},
                read::{Loss, TracePages},
            },
        },
        task_body::{BodyFailed, BodyWriter},
    },
    wire::control,
};

/// The number of bytes after which collected spans are written. Within such a batch, spans are grouped by process and
/// scope.
const BATCH_BYTES: usize = 256 * 1024;

/// Writes the events, one per line. If some were evicted before the response began, the first line
/// is a `gap` with their count. If more were evicted before they were written, the last line is
/// another `gap`.
pub(super) async fn write_jsonl(
    snapshot: Snapshot,
    mut body: BodyWriter,
) -> Result<(), BodyFailed> {
    // A reader of all traces gets every `process` event, so the overview is not needed.
    let overview = match snapshot.within {
        Some(_) => Some(Overview::read(&snapshot, &mut body).await?),
        None => None,
    };
    if let Some(evicted) = snapshot.evicted {
        control::evicted_payload(&mut body.out, Some(evicted.events));
        body.out.push(b'\n');
    }
    let mut pages = snapshot.events.pages();
    while let Some(page) = pages.next().await {
        let out = &mut body.out;
        pages.read(&page, |event| {
            let is_shown = event.name != "process"
                || overview
                    .as_ref()
                    .is_none_or(|overview| overview.shows_process(&snapshot, event.payload));
            if is_shown {
                out.extend_from_slice(&snapshot.narrowed(event.payload));
                out.push(b'\n');
            }
        });
        drop(page);
        body.send_if_large().await?;
    }
    match loss(&pages, overview.as_ref()) {
        // Damaged events have lines of their own.
        None | Some(Loss::Damaged { .. }) => {}
        Some(Loss::Evicted { lost }) => {
            control::evicted_payload(&mut body.out, lost);
            body.out.push(b'\n');
        }
        // No event can express an unreadable store, so the response is cut off.
        Some(Loss::Unreadable) => return Err(BodyFailed),
    }
    body.finish().await
}

/// The counts of spans that OTLP cannot represent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpTail {
    omitted_spans: OmittedSpans,
}

#[derive(Serialize)]
struct OmittedSpans {
    /// The number of spans that have not ended.
    running: u64,
}

/// Writes the ended spans. OTLP has no field for missing data. Receivers ignore unknown fields, so
/// the missing data is reported in one.
pub(super) async fn write_otlp(snapshot: Snapshot, mut body: BodyWriter) -> Result<(), BodyFailed> {
    let overview = Overview::read(&snapshot, &mut body).await?;
    let mut latest = overview.latest.cursor();
    let mut pages = snapshot.events.pages();
    let mut running = 0;
    let mut otlp = OtlpWriter::begin(&mut body.out, snapshot.evicted);
    while let Some(page) = pages.next().await {
        pages.read(&page, |event| match event.name {
            "process" => {
                let process = projection::process(event.payload).unwrap_or_default();
                if overview.is_working(&process) {
                    otlp.process(event.payload);
                }
            }
            "ended" if latest.is_latest(event.sequence, span_of(event.payload)) => {
                otlp.ended(&snapshot.narrowed(event.payload));
            }
            "started" if latest.is_latest(event.sequence, span_of(event.payload)) => running += 1,
            _ => {}
        });
        drop(page);
        if otlp.size() >= BATCH_BYTES {
            otlp.write(&mut body.out);
            body.send_if_large().await?;
        }
    }
    otlp.end(&mut body.out);
    if running > 0 {
        let omitted_spans = OmittedSpans { running };
        response::fields(&mut body.out, b',', &OtlpTail { omitted_spans });
    }
    document::finish(body, loss(&pages, Some(&overview))).await
}

/// Returns the loss in this pass, or in the overview's pass before it.
pub(super) fn loss(pages: &TracePages<'_>, overview: Option<&Overview>) -> Option<Loss> {
    let Some(overview) = overview else {
        return pages.loss();
    };
    let is_short = overview.events != pages.events();
    overview
        .loss
        .or_else(|| is_short.then(|| pages.loss_of(overview.events)))
}
