//! Collects the `updated` events of spans that end as lost: the lost end repeats them, merged. Each trace is read once
//! for all of its spans. It runs on the worker thread.

use crate::{
    engine::log::Log,
    error::Error,
    log::{block::Slice, event::StreamKey, tail::TailRead},
    span::json::MergedUpdate,
    store::PageLimit,
    trace::parse,
    util::{
        block_on::block_on,
        hash::{Map, Set},
    },
    wire::id::Sequence,
};

/// After this many events, no further page is read. Later updates are missing from the `ended` events.
const EVENTS_MAX: usize = 250_000;
/// Once the merged updates have this many bytes, no further update is added. The `ended` events lack the others.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The stream key of a trace, and the token of one of its spans.
type SpanOfTrace = (StreamKey, u64);

/// The merged updates of spans that end as lost.
#[derive(Debug, Default)]
pub(super) struct LostSpanUpdates {
    merged: Map<SpanOfTrace, MergedUpdate>,
    /// Streams that were read from the store already, each from its first opening event on, and whether all their events
    /// could be read.
    read: Map<StreamKey, bool>,
    events: usize,
    bytes: usize,
}

/// The opening event of a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedAt {
    pub(super) key: StreamKey,
    pub(super) token: u64,
    pub(super) sequence: u64,
}

impl OpenedAt {
    /// Returns `None` if the event has no stream key or no span id.
    pub(super) fn of(key: Option<StreamKey>, sequence: u64, payload: &[u8]) -> Option<Self> {
        let span = parse::span_id(payload)?;
        Some(Self {
            key: key?,
            token: u64::from_be_bytes(span.to_bytes()),
            sequence,
        })
    }
}

impl LostSpanUpdates {
    /// Reads the updates of these spans from memory.
    pub(super) fn in_memory(log: &Log, opened: &[OpenedAt]) -> Self {
        let mut updates = Self::default();
        let spans: Set<SpanOfTrace> = opened.iter().map(|one| (one.key, one.token)).collect();
        let mut firsts: Map<StreamKey, u64> = Map::default();
        for one in opened {
            let first = firsts.entry(one.key).or_insert(one.sequence);
            *first = (*first).min(one.sequence);
        }
        for (key, first) in firsts {
            updates.read_memory(log, (key, first), |span| spans.contains(span));
        }
        updates
    }

    fn read_memory(
        &mut self,
        log: &Log,
        (key, first): (StreamKey, u64),
        is_wanted: impl Fn(&SpanOfTrace) -> bool,
    ) {
        let mut after = first;
        while self.events < EVENTS_MAX {
            let slices = match log.tail.read_streams_after(&[key], after) {
                TailRead::Events(slices) => {
                    after = slices.last().map_or(u64::MAX, Slice::last);
                    slices
                }
                TailRead::Evicted(_) => {
                    let skipped = log.tail.skip_evicted(&[key], after, u64::MAX);
                    after = skipped.to;
                    skipped.kept
                }
                TailRead::Nothing(_) => return,
            };
            for event in slices.iter().flat_map(Slice::events) {
                self.events += 1;
                if event.key() == Some(key) && event.name() == "updated" {
                    event.with_payload(|payload| self.add(key, payload, &is_wanted));
                }
            }
        }
    }

    /// Reads the updates of a trace from the store, unless an earlier call for one of its spans has read them. The
    /// caller passes the opening events in log order. Returns whether all updates of the trace were read: the store may
    /// fail, and a bound may be reached.
    pub(super) fn read_store(&mut self, log: &Log, opened: OpenedAt) -> bool {
        if let Some(is_whole) = self.read.get(&opened.key) {
            return *is_whole;
        }
        let is_read = self.read_pages(log, opened).is_ok();
        let is_whole = is_read && self.events < EVENTS_MAX && self.bytes < BYTES_MAX;
        self.read.insert(opened.key, is_whole);
        is_whole
    }

    fn read_pages(&mut self, log: &Log, opened: OpenedAt) -> Result<(), Error> {
        let mut after = Sequence::new(opened.sequence);
        while self.events < EVENTS_MAX {
            let keys = [opened.key];
            let page = log.store.read_streams_after(&keys, after, PageLimit::LARGE);
            let page = block_on(page)?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.sequence;
            self.events += page.len();
            let own = page.iter().filter(|event| event.key == Some(opened.key));
            for event in own.filter(|event| event.name == "updated") {
                self.add(opened.key, &event.payload, |_span| true);
            }
        }
        Ok(())
    }

    fn add(&mut self, key: StreamKey, payload: &[u8], is_wanted: impl Fn(&SpanOfTrace) -> bool) {
        let Some(span) = parse::span_id(payload) else {
            return;
        };
        let span = (key, u64::from_be_bytes(span.to_bytes()));
        if !is_wanted(&span) || self.bytes >= BYTES_MAX {
            return;
        }
        let merged = self.merged.entry(span).or_default();
        let before = merged.size();
        merged.add(payload);
        self.bytes = (self.bytes + merged.size()).saturating_sub(before);
    }

    /// Returns the merged updates of a span, if there are any.
    pub(super) fn of(&self, opened: OpenedAt) -> Option<&MergedUpdate> {
        self.merged.get(&(opened.key, opened.token))
    }
}
