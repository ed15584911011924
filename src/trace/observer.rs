//! Applies stored events to the index: those of other writers as they arrive, and all retained ones
//! when the index is rebuilt.

use std::sync::Arc;

use crate::{
    engine::encoder::{IndexRebuild, LogObserver, Writers},
    log::{batch::StoredEvent, event::StreamKey, retention::EvictedEvents},
    span::event::SpanId,
    trace::{
        index::{PendingIndex, TraceIndex},
        parse,
        span_change::SpanChange,
    },
    util::hash::Set,
};

pub(crate) struct IndexObserver(pub(crate) Arc<TraceIndex>);

impl LogObserver for IndexObserver {
    fn observe(&self, events: &[StoredEvent]) {
        self.0.apply(changes(events));
    }

    fn open_streams(&self, before: u64, limit: usize) -> Vec<StreamKey> {
        let traces = self.0.open_traces(before, limit).into_iter();
        traces.map(StreamKey::of_id).collect()
    }

    fn oldest_streams(&self, limit: usize) -> Vec<StreamKey> {
        self.0.begun_before(u64::MAX, limit)
    }

    fn observe_evicted(&self, evicted: &[(StreamKey, EvictedEvents)]) {
        self.0.set_evicted(evicted);
    }

    fn begin_rebuild(&self, from: u64, writers: Writers) -> Box<dyn IndexRebuild> {
        Box::new(PendingRebuild {
            index: Arc::clone(&self.0),
            pending: PendingIndex::new(from),
            writers,
            durable: Set::default(),
        })
    }
}

struct PendingRebuild {
    index: Arc<TraceIndex>,
    pending: PendingIndex,
    writers: Writers,
    /// The spans that outlive their process.
    durable: Set<[u8; 8]>,
}

impl IndexRebuild for PendingRebuild {
    fn observe(&mut self, events: &[StoredEvent]) {
        let starts = events.iter().filter(|event| event.name == "started");
        let durable = starts.filter(|event| parse::is_durable(&event.payload));
        let durable = durable.filter_map(|event| parse::span_id(&event.payload));
        self.durable.extend(durable.map(SpanId::to_bytes));
        self.pending.apply(changes(events));
    }

    fn leave_out_rest(&mut self, stream: &StreamKey) {
        self.pending.leave_out_rest(stream);
    }

    fn commit(mut self: Box<Self>) {
        let requires_ended_root = self.writers == Writers::Several;
        self.pending
            .assume_ended(requires_ended_root, |span| !self.durable.contains(&span));
        self.index.commit(self.pending);
    }
}

fn changes(events: &[StoredEvent]) -> impl Iterator<Item = (u64, SpanChange)> {
    events.iter().filter_map(|event| {
        let change = parse::span_change(&event.payload)?;
        Some((event.sequence.get(), change))
    })
}
