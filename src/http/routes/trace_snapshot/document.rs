//! Writes a trace as one JSON document. It makes several passes over the trace: one for each list, page by page. It
//! runs on the task that writes the answer.

use serde::Serialize;

use crate::{
    http::{
        routes::trace_snapshot::{
            overview::{Overview, Snapshot, span_of},
            read::{Loss, TraceEvent},
        },
        task_body::{BodyWriter, ClientGone},
    },
    trace::summary::{EvictedParts, Summary},
    util::time::Timestamp,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotHead {
    trace_id: String,
    cursor: String,
    now: String,
    /// The events that retention had evicted before the answer began.
    #[serde(skip_serializing_if = "Option::is_none")]
    evicted: Option<EvictedParts>,
}

#[derive(Serialize)]
struct SnapshotSummary {
    /// `None` if the trace was evicted before any of it was read.
    summary: Option<Summary>,
}

#[derive(Serialize)]
struct SnapshotTail {
    incomplete: Option<Loss>,
}

/// Writes the document. If a part of the trace was evicted before it was written, the last field says so.
pub(super) async fn write(snapshot: Snapshot, mut body: BodyWriter) -> Result<(), ClientGone> {
    let head = SnapshotHead {
        trace_id: snapshot.trace.to_string(),
        cursor: snapshot.events.cursor(),
        now: Timestamp::now().text(),
        evicted: snapshot.evicted,
    };
    fields(&mut body.out, b'{', &head);
    let overview = Overview::read(&snapshot, &mut body).await?;
    let summary = overview.summary(&snapshot, |at| snapshot.events.id(at));
    fields(&mut body.out, b',', &SnapshotSummary { summary });
    let mut lists = Lists {
        snapshot: &snapshot,
        body,
        events: overview.events,
        loss: overview.loss,
    };
    let processes = overview.process_events(&snapshot);
    let is_shown = |event: &TraceEvent<'_>| {
        event.name == "process" && overview.shows_process(&snapshot, event.payload)
    };
    lists
        .write("processes", Expected::Items(processes), is_shown)
        .await?;
    let mut latest = overview.latest.cursor();
    let is_latest = |event: &TraceEvent<'_>| {
        matches!(event.name, "started" | "ended")
            && latest.is_latest(event.sequence, span_of(event.payload))
    };
    lists
        .write("spans", Expected::Items(overview.latest.len()), is_latest)
        .await?;
    let is_news = |event: &TraceEvent<'_>| {
        event.name == "updated" && overview.latest.wants_updates_of(span_of(event.payload))
    };
    let updates = if overview.latest.wants_updates() {
        Expected::AllOf(overview.events)
    } else {
        Expected::Items(0)
    };
    lists.write("updates", updates, is_news).await?;
    let is_log = |event: &TraceEvent<'_>| event.name == "log";
    lists
        .write("logs", Expected::Items(overview.log_records), is_log)
        .await?;
    let Lists { body, loss, .. } = lists;
    finish(body, loss).await
}

/// Ends the object; if events are missing, writes the loss first.
pub(super) async fn finish(
    mut body: BodyWriter,
    incomplete: Option<Loss>,
) -> Result<(), ClientGone> {
    if incomplete.is_some() {
        fields(&mut body.out, b',', &SnapshotTail { incomplete });
    }
    body.out.push(b'}');
    body.finish().await
}

/// The condition under which a list is complete.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The list has this many items.
    Items(u64),
    /// The pass has looked at this many events.
    AllOf(u64),
}

/// The lists of a document.
struct Lists<'a> {
    snapshot: &'a Snapshot,
    body: BodyWriter,
    /// The number of events of the trace.
    events: u64,
    loss: Option<Loss>,
}

impl Lists<'_> {
    /// Writes the events that `is_wanted` accepts.
    async fn write(
        &mut self,
        name: &str,
        expected: Expected,
        mut is_wanted: impl FnMut(&TraceEvent<'_>) -> bool,
    ) -> Result<(), ClientGone> {
        self.body
            .out
            .extend_from_slice(format!(",\"{name}\":[").as_bytes());
        let snapshot = self.snapshot;
        let mut pages = snapshot.events.pages();
        let mut items = 0;
        let is_whole = |items: u64| matches!(expected, Expected::Items(all) if items >= all);
        while !is_whole(items)
            && let Some(page) = pages.next().await
        {
            let out = &mut self.body.out;
            pages.read(&page, |event| {
                if !is_whole(items) && is_wanted(&event) {
                    if items > 0 {
                        out.push(b',');
                    }
                    items += 1;
                    out.extend_from_slice(&snapshot.narrowed(event.payload));
                }
            });
            // Dropped before the wait for the client, so that a slow client does not keep a page in memory.
            drop(page);
            self.body.send_if_large().await?;
        }
        self.body.out.push(b']');
        let is_complete = match expected {
            Expected::Items(all) => items == all,
            Expected::AllOf(all) => pages.events() == all,
        };
        if !is_complete && self.loss.is_none() {
            self.loss = Some(pages.loss_of(self.events));
        }
        Ok(())
    }
}

/// Appends the fields of an object after a brace or a comma.
pub(super) fn fields(out: &mut Vec<u8>, separator: u8, object: &impl Serialize) {
    let text = serde_json::to_vec(object).unwrap_or_default();
    let inside = text
        .strip_prefix(b"{")
        .and_then(|text| text.strip_suffix(b"}"));
    out.push(separator);
    out.extend_from_slice(inside.unwrap_or_default());
}
