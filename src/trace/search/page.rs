//! Pages of traces whose events a search reads. Traces in the index are found here, older ones in
//! [`stored`](crate::trace::stored). The summary of a trace decides first. Its events are read only
//! for the terms that the summary leaves undecided, within a budget. It runs on the task of a
//! request.

use std::time::{Duration, Instant};

use crate::{
    engine::log::Log,
    error::Error,
    log::{block::Slice, event::StreamKey, tail::TailRead},
    store::PageLimit,
    trace::{
        filter::TraceFilter,
        index::{TraceIndex, TracePage},
        search::{
            SummaryVerdict,
            event_search::{EventSearch, SearchMatch},
        },
    },
    util::{sync::read, time::Timestamp},
    wire::id::Sequence,
};

/// Upper bound on the traces that are compared with the filter under one lock.
const TRACES_AT_ONCE: usize = 256;

/// The remaining budget of one page. A page reads at least one trace, so that every page makes progress. The budget is
/// checked between reads, so a page may exceed it by one read.
#[derive(Debug)]
pub(crate) struct PageBudget {
    rows: usize,
    rows_max: usize,
    begun: Instant,
}

impl PageBudget {
    /// Number of rows (events and streams) after which a page without a search reads no further from the store.
    const ROWS_MAX: usize = 50_000;
    /// Number of rows after which a page with a search reads no further, in memory and in the store.
    pub(crate) const SEARCHED_ROWS_MAX: usize = 200_000;
    /// The time after which a page that has read something reads no further.
    const TIME_MAX: Duration = Duration::from_secs(1);

    pub(crate) fn of(filter: &TraceFilter) -> Self {
        Self {
            rows: 0,
            rows_max: if filter.search.reads_events() {
                Self::SEARCHED_ROWS_MAX
            } else {
                Self::ROWS_MAX
            },
            begun: Instant::now(),
        }
    }

    /// Returns a budget of this many rows.
    #[cfg(test)]
    pub(crate) fn of_rows(rows_max: usize) -> Self {
        Self {
            rows_max,
            ..Self::of(&TraceFilter::default())
        }
    }

    pub(crate) fn spend(&mut self, rows: usize) {
        self.rows += rows;
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.rows >= self.rows_max || self.rows > 0 && self.begun.elapsed() >= Self::TIME_MAX
    }

    /// Returns whether the page has read nothing yet. A trace that exceeds even a whole budget is
    /// skipped and reported.
    pub(crate) fn is_fresh(&self) -> bool {
        self.rows == 0
    }
}

/// A trace that its summary does not rule out.
#[derive(Debug)]
struct Candidate {
    first: u64,
    id: [u8; 16],
    verdict: SummaryVerdict,
}

impl TraceIndex {
    /// Returns the newest candidates that begin before this event. Also returns the event before
    /// which there may be more.
    fn candidates(
        &self,
        filter: &TraceFilter,
        before: u64,
        now: Timestamp,
    ) -> (Vec<Candidate>, Option<u64>) {
        let state = read(&self.state);
        let mut candidates = Vec::new();
        let (mut count, mut floor) = (0, before);
        for (first, id) in state.order.range(..before).rev().take(TRACES_AT_ONCE) {
            (count, floor) = (count + 1, *first);
            let entry = state.traces.get(id);
            let verdict = entry.map(|entry| filter.verdict(id, &entry.trace, now));
            let verdict = verdict.filter(|verdict| *verdict != SummaryVerdict::Rejected);
            candidates.extend(verdict.map(|verdict| Candidate {
                first: *first,
                id: *id,
                verdict,
            }));
        }
        (candidates, (count == TRACES_AT_ONCE).then_some(floor))
    }
}

/// Returns the newest traces in the index that the filter accepts and that begin before the event
/// `before`.
pub(crate) async fn indexed_page(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
    (before, limit): (u64, usize),
    budget: &mut PageBudget,
) -> Result<TracePage, Error> {
    let now = Timestamp::now();
    let mut page = TracePage::default();
    let mut before = Some(before);
    while let Some(from) = before {
        let (candidates, more) = index.candidates(filter, from, now);
        before = more;
        for candidate in candidates {
            let first = candidate.first;
            if page.traces.len() == limit {
                page.next = Some(first + 1);
                return Ok(page);
            }
            if budget.is_spent() {
                return Ok(page.stopped_before(first));
            }
            match search(log, filter, &candidate, budget).await? {
                SearchResult::Accepted(found) => {
                    let summary = index.summary(candidate.id, |at| log.id(at));
                    let summary = summary.map(|summary| (first, summary.with_match(found)));
                    page.traces.extend(summary);
                }
                SearchResult::Rejected => {}
                SearchResult::OutOfBudget => return Ok(page.stopped_before(first)),
                SearchResult::TooLarge => page.searched_in_part.push(candidate.id),
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(page)
}

impl TracePage {
    /// Ends the page before the trace with this first event.
    fn stopped_before(mut self, first: u64) -> Self {
        self.next = Some(first + 1);
        self.stopped_early = true;
        self
    }
}

/// The result of searching a trace's events.
#[derive(Debug)]
enum SearchResult {
    Accepted(Option<SearchMatch>),
    Rejected,
    /// The next page begins with this trace.
    OutOfBudget,
    /// A whole budget of rows or time was not enough to read the trace, and the events that were read do not decide the
    /// search.
    TooLarge,
}

async fn search(
    log: &Log,
    filter: &TraceFilter,
    candidate: &Candidate,
    budget: &mut PageBudget,
) -> Result<SearchResult, Error> {
    let SummaryVerdict::Open(open) = &candidate.verdict else {
        return Ok(SearchResult::Accepted(None));
    };
    let is_fresh = budget.is_fresh();
    let mut search = EventSearch::new(&filter.search, open);
    let (key, first) = (StreamKey::of_id(candidate.id), candidate.first);
    let is_whole = read_events(log, (key, first), budget, |payload| {
        search.scan(payload);
        search.is_decided()
    })
    .await?;
    if !is_whole {
        return Ok(if is_fresh {
            SearchResult::TooLarge
        } else {
            SearchResult::OutOfBudget
        });
    }
    let Ok(found) = search.decide(&candidate.verdict) else {
        return Ok(SearchResult::Rejected);
    };
    let found = named(log, (key, first), found, budget).await?;
    Ok(SearchResult::Accepted(found))
}

/// Looks up the name of the span if the matching event lacks it.
pub(crate) async fn named(
    log: &Log,
    stream: (StreamKey, u64),
    mut found: Option<SearchMatch>,
    budget: &mut PageBudget,
) -> Result<Option<SearchMatch>, Error> {
    if let Some(found) = found.as_mut().filter(|found| found.needs_name()) {
        read_events(log, stream, budget, |payload| {
            found.take_name(payload);
            !found.needs_name()
        })
        .await?;
    }
    Ok(found)
}

/// Calls `visit` with the payloads of a trace that begins with the event `first`, until `visit`
/// returns `true`. Returns `false` only if the budget was spent before that and before the trace's end.
async fn read_events(
    log: &Log,
    (key, first): (StreamKey, u64),
    budget: &mut PageBudget,
    mut visit: impl FnMut(&[u8]) -> bool,
) -> Result<bool, Error> {
    let mut after = first.saturating_sub(1);
    while !budget.is_spent() {
        let read = if log.is_shared() {
            // In a shared log, memory has only the events that this process followed.
            TailRead::Evicted(u64::MAX)
        } else {
            log.tail.read_streams_after(&[key], after)
        };
        match read {
            TailRead::Events(slices) => {
                if visit_slices(&slices, key, budget, &mut visit) {
                    return Ok(true);
                }
                after = slices.last().map_or(after, Slice::last);
            }
            TailRead::Nothing(_) => return Ok(true),
            TailRead::Evicted(_) if log.is_in_memory() => {
                let skipped = log.tail.skip_evicted(&[key], after, u64::MAX);
                if visit_slices(&skipped.kept, key, budget, &mut visit) {
                    return Ok(true);
                }
                after = skipped.to;
            }
            TailRead::Evicted(oldest) => {
                let from = Sequence::new(after);
                let events = log.store.read_streams_after(&[key], from, PageLimit::LARGE);
                let events = events.await?;
                let Some(last) = events.last() else {
                    if oldest == u64::MAX {
                        return Ok(true);
                    }
                    after = oldest - 1;
                    continue;
                };
                after = last.sequence.get();
                budget.spend(events.len());
                let mut own = events.iter().filter(|event| event.key == Some(key));
                if own.any(|event| visit(&event.payload)) {
                    return Ok(true);
                }
            }
        }
        // Reading from memory never yields by itself, so other tasks get to run here.
        tokio::task::yield_now().await;
    }
    Ok(false)
}

fn visit_slices(
    slices: &[Slice],
    key: StreamKey,
    budget: &mut PageBudget,
    visit: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut events = slices.iter().flat_map(Slice::events);
    events.any(|event| {
        budget.spend(1);
        event.key() == Some(key) && event.with_payload(&mut *visit)
    })
}
