//! Traces that only the store has, because they are too old for memory or were written by other
//! processes. Their state is computed from their events, within a budget, because the threads that
//! read the store also serve every replay.

use std::collections::VecDeque;

use crate::{
    engine::log::Log,
    error::Error,
    log::{batch::StoredEvent, event::StreamKey},
    span::event::TraceId,
    store::{PageLimit, StoredStream},
    trace::{
        filter::TraceFilter,
        index::{TraceIndex, TracePage},
        parse,
        search::{
            SummaryVerdict,
            event_search::EventSearch,
            page::{self as search_page, PageBudget},
        },
        span_change::ChangeKind,
        state::Trace,
        summary::EvictedParts,
    },
    util::{hash::Set, time::Timestamp},
    wire::id::Sequence,
};

/// Upper bound on the events from the beginning of a trace that are read for its summary. The
/// summary of a larger trace covers its beginning and its end, and reports this.
const TRACE_EVENTS_MAX: usize = 20_000;
/// The end of a larger trace is also read: its events within this many sequences before its last event. If the last
/// event is unknown, the head of the log is used instead.
const END_NUMBERS: u64 = 5_000;
/// Number of streams that are listed at once.
const STREAMS_AT_ONCE: usize = 500;

/// The state of a trace, computed from its events in log order.
#[derive(Debug, Default)]
pub(crate) struct StoredTrace {
    trace: Option<Trace>,
    /// The spans that outlive their process.
    durable: Set<[u8; 8]>,
}

impl StoredTrace {
    pub(crate) fn add(&mut self, sequence: u64, payload: &[u8], id: [u8; 16]) {
        let Some(change) = parse::span_change(payload).filter(|change| change.trace_id == id)
        else {
            return;
        };
        if matches!(change.kind, ChangeKind::Started(_)) && parse::is_durable(payload) {
            self.durable.insert(change.span_id);
        }
        self.trace
            .get_or_insert_with(|| Trace::new(sequence))
            .apply(&change, sequence);
    }

    /// Treats spans as ended that were open before the part of the trace that was left out, and are still open after
    /// it. In a log with one writer, only durable spans are running in a trace that is not in the index. In a shared
    /// log, the spans count as ended if the root has ended.
    fn assume_ended(&mut self, mut open: Vec<[u8; 8]>, is_shared: bool) {
        open.retain(|span| !self.durable.contains(span));
        if let Some(trace) = &mut self.trace
            && (!is_shared || trace.has_root_ended())
        {
            trace.forget_twins().for_each(drop);
            trace.assume_ended(&open);
        }
    }

    /// Returns whether the trace is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.trace.as_ref().is_some_and(Trace::is_complete)
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}

/// Returns whether the index alone provides the whole page.
pub(crate) fn is_whole(log: &Log, known: &TracePage) -> bool {
    // The index knows every trace that began in memory. If the next page begins there as well, the index alone fills
    // this page.
    let start = log.tail.stats().oldest;
    log.is_in_memory() || known.next.is_some_and(|next| next > start)
}

/// The traces of a page: at most `limit` that begin before one event and have an event after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRange {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) limit: usize,
}

/// Completes the page with traces that only the store knows.
pub(crate) async fn whole_page(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
    (known, range): (TracePage, PageRange),
    budget: &mut PageBudget,
) -> Result<TracePage, Error> {
    let mut stored = stored_page(log, index, filter, range, budget).await?;
    let keys: Vec<StreamKey> = stored
        .traces
        .iter()
        .map(|(_, summary)| StreamKey::of_id(summary.id))
        .collect();
    let evicted = log.evicted_of(&keys).await;
    for ((_, summary), evicted) in stored.traces.iter_mut().zip(evicted) {
        summary.evicted = evicted.and_then(EvictedParts::of);
    }
    Ok(merged(known, stored, range.limit))
}

/// Finds the newest trace that the index lacks. Returns an event: the page of traces before this event begins with the
/// trace. If the budget is spent first, the search can continue before this event.
#[cfg(feature = "http")]
pub(crate) async fn older_than_index(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
) -> Result<Option<u64>, Error> {
    let mut budget = PageBudget::of(filter);
    let range = PageRange {
        before: u64::MAX,
        after: 0,
        limit: 1,
    };
    let page = stored_page(log, index, filter, range, &mut budget).await?;
    let found = page.traces.first().map(|(first, _)| first + 1);
    Ok(found.or(page.next))
}

async fn stored_page(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
    range: PageRange,
    budget: &mut PageBudget,
) -> Result<TracePage, Error> {
    let mut page = TracePage::default();
    // SQLite's integers are signed.
    let before = Sequence::new(range.before.min(i64::MAX as u64));
    let is_unknown = |id: &[u8; 16]| log.is_shared() || !index.knows(id);
    let mut streams = match filter.few() {
        Some(few) => {
            let few = few.into_iter().filter(|id| is_unknown(&id.to_bytes()));
            Streams::Few(locate(log, few, before).await?)
        }
        None => Streams::All {
            before: Some(before),
            page: VecDeque::new(),
        },
    };
    let now = Timestamp::now();
    let mut is_fresh = budget.is_fresh();
    while let Some(stream) = streams.next(log).await? {
        let (key, first) = (stream.key, stream.first.get());
        if budget.is_spent() {
            page.next = Some(first + 1);
            page.stopped_early = true;
            break;
        }
        budget.spend(1);
        let Ok(id) = <[u8; 16]>::try_from(stream.key.as_bytes()) else {
            continue;
        };
        if !filter.may_see(&id) || !is_unknown(&id) || stream.last.get() <= range.after {
            continue;
        }
        let was_fresh = std::mem::replace(&mut is_fresh, false);
        let mut search = EventSearch::of_all(&filter.search);
        let (stored, partial, is_read) = stored(log, stream, id, (budget, &mut search)).await?;
        let Some(trace) = stored.trace().filter(|trace| trace.last > range.after) else {
            continue;
        };
        let verdict = filter.verdict(&id, trace, now);
        if matches!(verdict, SummaryVerdict::Open(_)) && !is_read {
            if was_fresh {
                page.searched_in_part.push(id);
                continue;
            }
            page.next = Some(first + 1);
            page.stopped_early = true;
            break;
        }
        let Ok(found) = search.decide(&verdict) else {
            continue;
        };
        if page.traces.len() == range.limit {
            page.next = Some(first + 1);
            break;
        }
        let found = search_page::named(log, (key, first), found, budget).await?;
        let summary = trace.summary(id, |at| log.id(at)).partial(partial);
        page.traces.push((first, summary.with_match(found)));
    }
    Ok(page)
}

/// Streams from the store, newest first.
#[derive(Debug)]
enum Streams {
    All {
        /// The event before which the next streams begin, if there may be more.
        before: Option<Sequence>,
        page: VecDeque<StoredStream>,
    },
    /// Only these streams. The time to find them, and their positions, reveal nothing about other
    /// streams.
    Few(VecDeque<StoredStream>),
}

impl Streams {
    async fn next(&mut self, log: &Log) -> Result<Option<StoredStream>, Error> {
        match self {
            Self::Few(streams) => Ok(streams.pop_front()),
            Self::All { before, page } => {
                if let (true, Some(from)) = (page.is_empty(), *before) {
                    let streams = log.store.streams_before(from, STREAMS_AT_ONCE).await?;
                    let is_full = streams.len() == STREAMS_AT_ONCE;
                    *before = streams.last().map(|last| last.first).filter(|_| is_full);
                    *page = streams.into();
                }
                Ok(page.pop_front())
            }
        }
    }
}

/// Looks up these traces in the store. Returns the traces that begin before an event, newest first.
async fn locate(
    log: &Log,
    traces: impl Iterator<Item = TraceId>,
    before: Sequence,
) -> Result<VecDeque<StoredStream>, Error> {
    const FIRST_EVENTS: PageLimit = PageLimit::UNBOUNDED.events(16).bytes(64 * 1024);
    let mut streams = Vec::new();
    for trace in traces {
        let key = trace.stream_key();
        let mut after = Sequence::START;
        // Events that belong to every stream may come before the trace's first event.
        while after < before {
            let page = log.store.read_streams_after(&[key], after, FIRST_EVENTS);
            let page = page.await?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.sequence;
            if let Some(first) = page.iter().find(|event| is_of(event, key)) {
                // The last event is unknown and not needed.
                let stream = StoredStream::new(key, first.sequence..=Sequence::MAX);
                streams.extend((first.sequence < before).then_some(stream));
                break;
            }
        }
    }
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.first));
    Ok(streams.into())
}

/// Returns the state of a trace from the store. If the trace has more events than the state covers,
/// also returns the number of covered events. Also returns whether the search is decided or has
/// read every event.
async fn stored(
    log: &Log,
    stream: StoredStream,
    id: [u8; 16],
    (budget, search): (&mut PageBudget, &mut EventSearch<'_>),
) -> Result<(StoredTrace, Option<usize>, bool), Error> {
    let StoredStream { key, first, last } = stream;
    let mut stored = StoredTrace::default();
    let mut after = Sequence::new(first.get().saturating_sub(1));
    let mut read = 0;
    let mut partial = None;
    while after < last {
        let events = log
            .store
            .read_streams_after(&[key], after, PageLimit::LARGE)
            .await?;
        let Some(newest) = events.last().map(|event| event.sequence) else {
            break;
        };
        budget.spend(events.len());
        let own = events.iter().filter(|event| is_of(event, key));
        if partial.is_none() && read >= TRACE_EVENTS_MAX && own.clone().next().is_some() {
            let end = add_end(log, (key, after, last), id, (budget, &mut stored)).await?;
            partial = Some(read + end);
        }
        if partial.is_some() && (search.is_decided() || budget.is_spent()) {
            return Ok((stored, partial, search.is_decided()));
        }
        after = newest;
        for event in own {
            search.scan(&event.payload);
            if partial.is_none() {
                read += 1;
                stored.add(event.sequence.get(), &event.payload, id);
            }
        }
    }
    Ok((stored, partial, true))
}

/// Applies the end of a trace whose events after `after` were left out. Returns the number of
/// applied events.
async fn add_end(
    log: &Log,
    (key, after, last): (StreamKey, Sequence, Sequence),
    id: [u8; 16],
    (budget, stored): (&mut PageBudget, &mut StoredTrace),
) -> Result<usize, Error> {
    let open = stored.trace().map(Trace::open_spans);
    let open = open.into_iter().flatten().collect();
    let last = last.min(Sequence::new(log.head()));
    let end = last.get().saturating_sub(END_NUMBERS);
    let mut after = after.max(Sequence::new(end));
    let mut read = 0;
    while after < last {
        let page = log
            .store
            .read_streams_after(&[key], after, PageLimit::LARGE);
        let events = page.await?;
        let Some(newest) = events.last().map(|event| event.sequence) else {
            break;
        };
        budget.spend(events.len());
        after = newest;
        for event in events.iter().filter(|event| is_of(event, key)) {
            stored.add(event.sequence.get(), &event.payload, id);
            read += 1;
        }
    }
    stored.assume_ended(open, log.is_shared());
    Ok(read)
}

fn is_of(event: &StoredEvent, key: StreamKey) -> bool {
    event.key == Some(key)
}

/// Merges both pages and keeps the newest traces. The traces that are left over are on the next page.
fn merged(known: TracePage, stored: TracePage, limit: usize) -> TracePage {
    // A page that has a next page lacks traces beyond its own end, so the merged page must end
    // there, too.
    let ends = [known.next, stored.next];
    let stopped_early = known.stopped_early || stored.stopped_early;
    let mut searched_in_part = known.searched_in_part;
    searched_in_part.extend(stored.searched_in_part);
    let reach = ends.into_iter().flatten().max().unwrap_or(0);
    let mut traces = known.traces;
    traces.extend(stored.traces);
    traces.sort_by(|(one, _), (other, _)| other.cmp(one));
    let in_reach = traces.partition_point(|(first, _)| *first >= reach);
    let taken = in_reach.min(limit);
    let left_out = traces.get(taken).map(|(first, _)| first + 1);
    traces.truncate(taken);
    let next = left_out.into_iter().chain(ends.into_iter().flatten()).max();
    TracePage {
        traces,
        next,
        stopped_early,
        searched_in_part,
    }
}
