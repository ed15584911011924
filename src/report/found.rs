//! A list of traces as text, one line per trace, newest first. Pure, except for [`find`], which
//! runs on the task of a request.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    error::Error,
    live_spans::LiveSpans,
    report::{
        running::span_now::age_of,
        text::{OpenFor, Plural, SpanText, Took, short_id},
    },
    trace::{
        filter::TraceFilter,
        index::TracePage,
        search::page::{self as search_page, PageBudget},
        stored::{self, PageRange},
        summary::Summary,
    },
    util::time::Timestamp,
    wire::id::EventId,
};

/// Upper bound on the traces from the index that one answer considers.
const CANDIDATES_MAX: usize = 500;

/// The traces of one answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundTraces {
    pub(crate) traces: Vec<Summary>,
    /// Whether there may be more traces.
    pub(crate) has_more: bool,
    /// Whether some traces were not searched.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stopped_early: bool,
    #[serde(skip)]
    now: Timestamp,
}

/// Returns at most `limit` of the newest traces that the filter accepts and that have an event after the sequence
/// `after`. `has_more` is also true if the budget ended the search early.
pub(crate) async fn find(
    live: &LiveSpans,
    filter: &TraceFilter,
    (after, limit): (u64, usize),
) -> Result<FoundTraces, Error> {
    let (log, index) = (live.log(), &live.shared.index);
    let mut budget = PageBudget::of(filter);
    let mut page = TracePage::default();
    if log.is_shared() {
        // In a shared log, the index has only traces that this process followed.
    } else if filter.search.reads_events() {
        let range = (u64::MAX, limit + 1);
        page = search_page::indexed_page(log, index, filter, range, &mut budget).await?;
    } else {
        page = index.page(filter, u64::MAX, CANDIDATES_MAX, |at| log.id(at));
    }
    let is_new = |summary: &Summary| {
        let last: Result<EventId, Error> = summary.last_id.parse();
        last.map_or(true, |last| last.sequence().get() > after)
    };
    page.traces.retain(|(_, summary)| is_new(summary));
    // The index has every trace with an event in memory, but in a shared log only the followed ones.
    let is_newer_in_index = after > 0 && !log.is_shared() && after >= log.tail.stats().oldest;
    if !stored::is_whole(log, &page) && !is_newer_in_index && page.traces.len() < limit {
        let permit = live.shared.read_permits.for_stored_page().await;
        let _permit = permit.ok_or_else(|| {
            Error::timeout("other requests hold all permits for reads from the store: try again")
        })?;
        let range = PageRange {
            before: u64::MAX,
            after,
            limit: limit + 1,
        };
        page = stored::whole_page(log, index, filter, (page, range), &mut budget).await?;
    }
    let has_next = page.next.is_some();
    let traces = page.traces.into_iter().map(|(_, summary)| summary);
    let mut traces: Vec<Summary> = traces.collect();
    let is_full = traces.len() > limit;
    let has_more = has_next || is_full;
    traces.truncate(limit);
    Ok(FoundTraces {
        traces,
        has_more,
        stopped_early: has_next && !is_full,
        now: Timestamp::now(),
    })
}

impl FoundTraces {
    /// Returns the list as text of at most this many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = if self.traces.is_empty() && self.stopped_early {
            "No trace was found among those that were searched.\n".to_owned()
        } else if self.traces.is_empty() {
            "No trace was found. `running` shows what is open; a trace is there as soon as its first span has started.\n"
                .to_owned()
        } else {
            format!(
                "{}, newest first\n",
                Plural(self.traces.len() as u64, "trace")
            )
        };
        let mut shown = 0;
        for trace in &self.traces {
            let line = self.line(trace);
            if text.len() + line.len() + 100 > bytes_max {
                break;
            }
            text.push_str(&line);
            shown += 1;
        }
        let hidden = self.traces.len() - shown;
        if hidden > 0 {
            let _fits = writeln!(text, "… {hidden} more: narrow by q.");
        } else if self.stopped_early {
            text.push_str("… Not all traces were searched: narrow by q.\n");
        } else if self.has_more {
            text.push_str("… There may be more: narrow by q, or raise limit.\n");
        }
        text
    }

    fn line(&self, trace: &Summary) -> String {
        let start = Timestamp::parse(&trace.start_timestamp).unwrap_or(self.now);
        let age = age_of(start, self.now);
        let mut line = format!(
            "trace {} {}",
            short_id(&trace.trace_id),
            SpanText(&trace.name)
        );
        if !trace.service.is_empty() {
            let _fits = write!(line, " · {}", SpanText(&trace.service));
        }
        let _fits = write!(line, " · {}", trace.state.word());
        let _fits = match trace.duration_ms {
            Some(milliseconds) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a duration is not negative"
                )]
                let nanos = (milliseconds * 1e6) as u64;
                write!(line, " · {} · began {} ago", Took(nanos), OpenFor(age))
            }
            None => write!(line, " · open for {}", OpenFor(age)),
        };
        let spans = trace.spans;
        let _fits = write!(line, " · {}", Plural(spans.total, "span"));
        if spans.open > 0 {
            let _fits = write!(line, ", {} open", spans.open);
        }
        if spans.errors > 0 {
            let _fits = write!(line, ", {}", Plural(spans.errors, "error"));
        }
        if let Some(evicted) = trace.evicted {
            let _fits = write!(line, " · {} evicted", Plural(evicted.events, "event"));
        }
        line.push('\n');
        line
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::{
        span::{
            SpanStatus,
            event::{SpanEvent, SpanId, TraceId},
        },
        store::SqliteEventStore,
    };

    fn run(number: u8) -> [SpanEvent; 2] {
        let trace = TraceId::from_bytes([number; 16]).unwrap();
        let span = SpanId::from_bytes([number; 8]).unwrap();
        [
            SpanEvent::started(trace, span, "job"),
            SpanEvent::ended(trace, span, "job", SpanStatus::Ok),
        ]
    }

    #[tokio::test]
    async fn a_shared_log_has_the_traces_after_a_cursor() {
        let name = format!("livespan-found-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let store = || SqliteEventStore::new(folder.join("spans.db"));
        let live = LiveSpans::builder().store(store()).build().unwrap();
        // The first trace goes on after the second one.
        let [[first, first_end], second, third] = [run(1), run(2), run(3)];
        for events in [&[first][..], &second, &[first_end], &third] {
            live.target().dispatch_all(events).await.unwrap();
        }
        let reader = LiveSpans::builder().store(store().read_only()).build();
        let reader = reader.unwrap();
        assert!(reader.log().is_shared());
        for log in [&live, &reader] {
            for (after, limit, expected, has_more) in [
                (0, 9, &[3_u8, 2, 1][..], false),
                (2, 9, &[3, 2, 1], false),
                (3, 9, &[3, 1], false),
                (3, 1, &[3], true),
                (4, 9, &[3], false),
                (6, 9, &[], false),
            ] {
                let filter = TraceFilter::default();
                let found = find(log, &filter, (after, limit)).await.unwrap();
                let ids = found.traces.iter().map(|trace| trace.id[0]);
                let ids: Vec<u8> = ids.collect();
                assert_eq!((&*ids, found.has_more), (expected, has_more), "{after}");
                assert!(!found.stopped_early);
            }
        }
        reader.shutdown().unwrap();
        live.shutdown().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
