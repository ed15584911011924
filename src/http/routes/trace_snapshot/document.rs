//! Writes a trace as one JSON document. It reads the trace several times, page by page: for the overview and for the
//! lists. It runs on the task that writes the response.

use serde::Serialize;

use crate::{
    http::{
        response::fields,
        routes::trace_snapshot::{
            latest::Latest,
            open_updates::OpenUpdates,
            overview::{Overview, Snapshot, span_of},
            read::{Loss, TraceEvent, TracePages},
        },
        task_body::{BodyFailed, BodyWriter},
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
    /// The events that retention had evicted before the response began.
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

/// Writes the document. If events were evicted before they were written, are damaged or cannot be read, the last field
/// reports this.
pub(super) async fn write(snapshot: Snapshot, mut body: BodyWriter) -> Result<(), BodyFailed> {
    let head = SnapshotHead {
        trace_id: snapshot.trace.to_string(),
        cursor: snapshot.events.cursor(),
        now: Timestamp::now().text(),
        evicted: snapshot.evicted,
    };
    fields(&mut body.out, b'{', &head);
    body.send().await?;
    // A pass over a large trace may write nothing for a long time. Line breaks then keep the connection alive.
    body.fill_silence();
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
    lists.write("processes", processes, is_shown).await?;
    let mut latest = overview.latest.cursor();
    let is_latest = |event: &TraceEvent<'_>| {
        matches!(event.name, "started" | "ended")
            && latest.is_latest(event.sequence, span_of(event.payload))
    };
    lists
        .write("spans", overview.latest.len(), is_latest)
        .await?;
    lists.write_updates(&overview.latest).await?;
    let is_log = |event: &TraceEvent<'_>| event.name == "log";
    lists.write("logs", overview.log_records, is_log).await?;
    let Lists { body, loss, .. } = lists;
    finish(body, loss).await
}

/// Ends the object. If events are missing, first writes the loss.
pub(super) async fn finish(
    mut body: BodyWriter,
    incomplete: Option<Loss>,
) -> Result<(), BodyFailed> {
    if incomplete.is_some() {
        fields(&mut body.out, b',', &SnapshotTail { incomplete });
    }
    body.out.push(b'}');
    body.finish().await
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
    /// Writes the `count` events that `is_wanted` accepts.
    async fn write(
        &mut self,
        name: &str,
        count: u64,
        mut is_wanted: impl FnMut(&TraceEvent<'_>) -> bool,
    ) -> Result<(), BodyFailed> {
        self.begin(name);
        let snapshot = self.snapshot;
        let mut pages = snapshot.events.pages();
        let mut items = 0;
        while items < count
            && let Some(page) = pages.next().await
        {
            let out = &mut self.body.out;
            pages.read(&page, |event| {
                if items < count && is_wanted(&event) {
                    if items > 0 {
                        out.push(b',');
                    }
                    items += 1;
                    out.extend_from_slice(&snapshot.narrowed(event.payload));
                }
            });
            // Dropped before the wait for the client, so that a slow client does not keep a page in
            // memory.
            drop(page);
            self.body.send_if_large().await?;
        }
        self.body.out.push(b']');
        self.expect(items == count, &pages);
        Ok(())
    }

    /// Writes one merged update for each open span that was updated.
    async fn write_updates(&mut self, latest: &Latest) -> Result<(), BodyFailed> {
        self.begin("updates");
        if latest.wants_updates() {
            let snapshot = self.snapshot;
            let mut pages = snapshot.events.pages();
            let mut updates = OpenUpdates::default();
            let mut items = 0;
            while let Some(page) = pages.next().await {
                pages.read(&page, |event| {
                    let is_of_span = matches!(event.name, "updated" | "ended");
                    if is_of_span && latest.wants_updates_of(span_of(event.payload)) {
                        updates.add(&event);
                    }
                });
                drop(page);
                if updates.is_full() {
                    self.write_merged(&mut updates, &mut items).await?;
                }
                self.body.send_if_large().await?;
            }
            self.write_merged(&mut updates, &mut items).await?;
            self.expect(pages.events() == self.events, &pages);
        }
        self.body.out.push(b']');
        Ok(())
    }

    /// Writes merged updates to a list that already has `items` elements.
    async fn write_merged(
        &mut self,
        updates: &mut OpenUpdates,
        items: &mut u64,
    ) -> Result<(), BodyFailed> {
        for update in updates.take() {
            let out = &mut self.body.out;
            if *items > 0 {
                out.push(b',');
            }
            *items += 1;
            out.extend_from_slice(&self.snapshot.narrowed(&update));
            self.body.send_if_large().await?;
        }
        Ok(())
    }

    fn begin(&mut self, name: &str) {
        let opening = format!(",\"{name}\":[");
        self.body.out.extend_from_slice(opening.as_bytes());
    }

    /// Records the loss if a pass did not find all events.
    fn expect(&mut self, is_complete: bool, pages: &TracePages<'_>) {
        if !is_complete && self.loss.is_none() {
            self.loss = Some(pages.loss_of(self.events));
        }
    }
}
