//! Decides when the stream of one trace is complete. It asks the index, or reads the events itself if the index may lack
//! a part of the trace that the store has. It runs on the connection's task.

use std::sync::Arc;

use crate::{
    log::block::BlockEvent,
    sse::body::Completion,
    trace::{index::TraceIndex, stored::StoredTrace},
};

/// Completion of a trace that is in the index.
pub(super) struct CompleteByIndex {
    pub(super) index: Arc<TraceIndex>,
    pub(super) id: [u8; 16],
}

impl Completion for CompleteByIndex {
    fn is_complete(&self, after: u64) -> bool {
        self.index.is_complete(self.id, after)
    }
}

/// Completion of a trace that is read from its beginning.
pub(super) struct CompleteByEvents {
    pub(super) fold: StoredTrace,
    pub(super) id: [u8; 16],
    /// The last sequence that the client already has. Events up to it are read but not sent.
    pub(super) had: u64,
}

impl Completion for CompleteByEvents {
    fn read(&mut self, event: &BlockEvent<'_>) -> bool {
        let sequence = event.sequence();
        event.with_payload(|payload| self.fold.add(sequence, payload, self.id));
        sequence > self.had
    }

    fn is_complete(&self, _after: u64) -> bool {
        self.fold.is_complete()
    }
}
