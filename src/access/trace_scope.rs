//! The projection for a reader of some traces: it removes links to other traces, and shows only the processes that have
//! events in the reader's traces. It runs on the reader's task.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    access::projection,
    log::block::BlockEvent,
    span::event::TraceId,
    sse::body::{Projected, Projection},
    wire::{control, frame, id::EventId},
};

/// Upper bound on the `process` events that are held back until their process has an event in one of the reader's
/// traces. Further ones are never sent.
const PROCESSES_MAX: usize = 4096;

/// The projection state of one reader.
#[derive(Debug)]
pub(crate) struct TraceScope {
    traces: Arc<HashSet<TraceId>>,
    /// The `process` events that were not sent to the reader yet, by the id of the process.
    held: HashMap<String, Bytes>,
}

impl TraceScope {
    pub(crate) fn of(traces: &Arc<HashSet<TraceId>>) -> Self {
        Self {
            traces: Arc::clone(traces),
            held: HashMap::new(),
        }
    }

    fn hold(&mut self, payload: Bytes) {
        let process = projection::process(&payload).map(Cow::into_owned);
        if let Some(process) = process
            && self.held.len() < PROCESSES_MAX
        {
            self.held.insert(process, payload);
        }
    }

    /// Removes and returns the held `process` event of the process that this event belongs to, if there is one.
    fn introduce(&mut self, payload: &[u8]) -> Option<Bytes> {
        if self.held.is_empty() {
            return None;
        }
        self.held.remove(&*projection::process(payload)?)
    }
}

impl Projection for TraceScope {
    fn project(&mut self, id: EventId, event: &BlockEvent<'_>) -> Projected {
        let name = event.name();
        if event.is_global() {
            if name == "process" {
                self.hold(event.payload());
            }
            // Every reader gets gaps.
            return if name == control::GAP {
                Projected::Unchanged
            } else {
                Projected::Hidden
            };
        }
        event.with_payload(|payload| {
            let process = self.introduce(payload);
            let narrowed = projection::without_foreign_links(payload, &self.traces);
            if process.is_none() && narrowed.is_none() {
                return Projected::Unchanged;
            }
            let mut out = Vec::with_capacity(payload.len() + 512);
            if let Some(process) = process {
                // Sent without its own id: that id is older than this event's, and ids must never go backwards.
                frame::control(&mut out, "process", &process);
            }
            let payload = narrowed.as_deref().unwrap_or(payload);
            frame::event(&mut out, name, id.epoch(), id.sequence().get(), payload);
            Projected::Replaced(Bytes::from(out))
        })
    }
}
