//! Traces that only the store knows: too old for memory, or made by others. What the index has ready is worked out from
//! their events.

use crate::{
    engine::log::Log,
    error::Error,
    log::{batch::StoredEvent, event::StreamKey},
    store::{PageLimit, StoredStream},
    trace::{
        filter::TraceFilter,
        index::{TraceIndex, TracePage},
        parse,
        state::Trace,
    },
    util::time::Timestamp,
    wire::id::Sequence,
};

/// Events of one trace that are read for its summary; a larger one is summed up by its beginning.
const TRACE_EVENTS_MAX: usize = 20_000;
/// Streams that one page of the list looks at; a filter that few of them pass makes short pages.
const STREAMS_MAX: usize = 500;
/// What is known of a trace from its events, as they come in log order.
#[derive(Debug, Default)]
pub(crate) struct StoredTrace {
    trace: Option<Trace>,
}

impl StoredTrace {
    pub(crate) fn add(&mut self, sequence: u64, payload: &[u8], id: [u8; 16]) {
        let Some(change) = parse::span_change(payload).filter(|change| change.trace_id == id)
        else {
            return;
        };
        self.trace
            .get_or_insert_with(|| Trace::new(sequence))
            .apply(&change, sequence);
    }

    /// Whether the trace is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.trace.as_ref().is_some_and(Trace::is_complete)
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}

/// The page of the list from before the event `before` on: of what the index knows and of what only the store does.
pub(crate) async fn page(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
    before: u64,
    limit: usize,
) -> Result<TracePage, Error> {
    let known = if log.is_shared() {
        // The index knows what was followed only.
        TracePage::default()
    } else {
        index.page(filter, before, limit, |at| log.id(at))
    };
    // What began in memory, the index knows: if the next page begins there, too, this one is the index's alone.
    let start = log.tail.stats().oldest;
    let is_filled = known.next.is_some_and(|next| next > start);
    if is_filled || log.is_in_memory() {
        return Ok(known);
    }
    let stored = stored_page(log, index, filter, before, limit).await?;
    Ok(merged(known, stored, limit))
}

async fn stored_page(
    log: &Log,
    index: &TraceIndex,
    filter: &TraceFilter,
    before: u64,
    limit: usize,
) -> Result<TracePage, Error> {
    let mut page = TracePage::default();
    // SQLite numbers are signed.
    let before = Sequence::new(before.min(i64::MAX as u64));
    let streams = log.store.streams_before(before, STREAMS_MAX).await?;
    let now = Timestamp::now();
    let looked_at = streams.len();
    for stream in streams {
        if looked_at == STREAMS_MAX {
            // There may be more than were looked at.
            page.next = Some(stream.first.get());
        }
        let Ok(id) = <[u8; 16]>::try_from(stream.key.as_bytes()) else {
            continue;
        };
        if !filter.may_see(&id) || (!log.is_shared() && index.knows(&id)) {
            continue;
        }
        let first = stream.first.get();
        if page.traces.len() == limit {
            page.next = Some(first + 1);
            return Ok(page);
        }
        let stored = stored(log, stream, id).await?;
        if let Some(trace) = stored
            .trace()
            .filter(|trace| filter.accepts(&id, trace, now))
        {
            let summary = trace.summary(id, |at| log.id(at));
            page.traces.push((first, summary));
        }
    }
    Ok(page)
}

async fn stored(log: &Log, stream: StoredStream, id: [u8; 16]) -> Result<StoredTrace, Error> {
    let StoredStream { key, first, last } = stream;
    let mut stored = StoredTrace::default();
    let mut after = Sequence::new(first.get().saturating_sub(1));
    let mut read = 0;
    while after < last && read < TRACE_EVENTS_MAX {
        let events = log
            .store
            .read_streams_after(&[key], after, PageLimit::LARGE)
            .await?;
        let Some(newest) = events.last().map(|event| event.sequence) else {
            break;
        };
        after = newest;
        read += events.len();
        for event in events.iter().filter(|event| is_of(event, key)) {
            stored.add(event.sequence.get(), &event.payload, id);
        }
    }
    Ok(stored)
}

fn is_of(event: &StoredEvent, key: StreamKey) -> bool {
    event.key == Some(key)
}

/// The newest of both pages; what does not fit begins the next one.
fn merged(known: TracePage, stored: TracePage, limit: usize) -> TracePage {
    // Beyond the end of a page that goes on, the other one must wait for it.
    let ends = [known.next, stored.next];
    let reach = ends.into_iter().flatten().max().unwrap_or(0);
    let mut traces = known.traces;
    traces.extend(stored.traces);
    traces.sort_by(|(one, _), (other, _)| other.cmp(one));
    let in_reach = traces.partition_point(|(first, _)| *first >= reach);
    let taken = in_reach.min(limit);
    let left_out = traces.get(taken).map(|(first, _)| first + 1);
    traces.truncate(taken);
    let next = left_out.into_iter().chain(ends.into_iter().flatten()).max();
    TracePage { traces, next }
}
