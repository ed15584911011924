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
        stored,
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
    #[serde(skip)]
    now: Timestamp,
}

/// Returns at most `limit` of the newest traces that the filter accepts and that have an event after the sequence
/// `after`. With an `after` other than 0, it searches only the index, and finds nothing in a shared log.
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
    if !stored::is_whole(log, &page) && after == 0 && page.traces.len() < limit {
        let permit = live.shared.read_permits.for_stored_page().await;
        let _permit = permit.ok_or_else(|| {
            Error::timeout("other requests hold all permits for reads from the store: try again")
        })?;
        let known = (page, u64::MAX, limit + 1);
        page = stored::whole_page(log, index, filter, known, &mut budget).await?;
    }
    let has_next = page.next.is_some();
    let traces = page.traces.into_iter().map(|(_, summary)| summary);
    let mut traces: Vec<Summary> = traces.filter(is_new).collect();
    let has_more = has_next || traces.len() > limit;
    traces.truncate(limit);
    Ok(FoundTraces {
        traces,
        has_more,
        now: Timestamp::now(),
    })
}

impl FoundTraces {
    /// Returns the list as text of at most this many bytes.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let mut text = if self.traces.is_empty() {
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
