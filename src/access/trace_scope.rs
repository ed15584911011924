//! What a reader of some traces gets of them: no links to others, and of the processes only those that worked on them.

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

/// Processes that a reader remembers until they turn up in its traces.
const PROCESSES_MAX: usize = 4096;

/// The sight of one reader.
#[derive(Debug)]
pub(crate) struct TraceScope {
    traces: Arc<HashSet<TraceId>>,
    /// The events of processes that did not turn up yet, by name.
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

    /// The process of this event, when the reader has not heard of it.
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
            // What was lost is told to all.
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
                // Its own id is of before, and ids never go backwards.
                frame::control(&mut out, "process", &process);
            }
            let payload = narrowed.as_deref().unwrap_or(payload);
            frame::event(&mut out, name, id.epoch(), id.sequence().get(), payload);
            Projected::Replaced(Bytes::from(out))
        })
    }
}
