//! What the index learns from events that this log did not make, as they stand in the store.

use std::sync::Arc;

use crate::{
    engine::encoder::{IndexRebuild, LogObserver},
    log::{batch::StoredEvent, event::StreamKey},
    trace::{
        index::{Draft, TraceIndex},
        parse,
        state::Fact,
    },
};

pub(crate) struct IndexObserver(pub(crate) Arc<TraceIndex>);

impl LogObserver for IndexObserver {
    fn observe(&self, events: &[StoredEvent]) {
        self.0.apply(facts(events));
    }

    fn open_streams(&self, before: u64, limit: usize) -> Vec<StreamKey> {
        let traces = self.0.open_traces(before, limit).into_iter();
        traces.map(StreamKey::of_id).collect()
    }

    fn begin_rebuild(&self, from: u64) -> Box<dyn IndexRebuild> {
        Box::new(Learning {
            index: Arc::clone(&self.0),
            draft: Draft::new(from),
        })
    }
}

struct Learning {
    index: Arc<TraceIndex>,
    draft: Draft,
}

impl IndexRebuild for Learning {
    fn observe(&mut self, events: &[StoredEvent]) {
        self.draft.apply(facts(events));
    }

    fn commit(self: Box<Self>) {
        self.index.adopt(self.draft);
    }
}

fn facts(events: &[StoredEvent]) -> impl Iterator<Item = (u64, Fact)> {
    events.iter().filter_map(|event| {
        let fact = parse::fact(&event.payload)?;
        Some((event.sequence.get(), fact))
    })
}
