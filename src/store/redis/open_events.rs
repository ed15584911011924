//! The opening events that this process has written and not closed, with their states.
//!
//! They are kept in memory and written again if another process closed them while this one was suspended, or if Redis
//! lost them. They have the same bounds as the log's own open events. This code runs on the log's thread.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::{
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        event::Pinning,
        retention::Retention,
    },
    store::redis::client::reply::pin_name,
    wire::id::Sequence,
};

#[derive(Debug, Default)]
pub(crate) struct OwnOpenEvents {
    open: HashMap<Vec<u8>, StoredEvent>,
    /// The newest states of these events, by the same names.
    states: HashMap<Vec<u8>, StoredEvent>,
    bytes: usize,
    /// Open events that `take_new` has returned and that are not yet written again.
    handed: HashSet<Vec<u8>>,
}

impl OwnOpenEvents {
    /// Adds the events that a batch opened, within the bounds, and removes those that it closed.
    pub(crate) fn apply(&mut self, writer: &str, first: u64, batch: &Batch) {
        for (record, sequence) in batch.iter().zip(first..) {
            let key = record.stream_key();
            match record.pin() {
                Pinning::None => {}
                Pinning::Close(token) => self.close(&pin_name(token, key, writer)),
                Pinning::Open(token) => {
                    let name = pin_name(token, key, writer);
                    self.close(&name);
                    let size = record.payload().len();
                    let full = self.open.len() >= Retention::PINNED_EVENTS_MAX
                        || self.bytes + size > Retention::PINNED_BYTES_MAX;
                    if !full {
                        self.bytes += size;
                        self.open.insert(name, stored(&record, sequence));
                    }
                }
                Pinning::State(token) => {
                    let name = pin_name(token, key, writer);
                    self.forget_state(&name);
                    let size = record.payload().len();
                    let is_open = key.is_some() && self.open.contains_key(&name);
                    if is_open && self.bytes + size <= Retention::STATE_BYTES_MAX {
                        self.bytes += size;
                        self.states.insert(name, stored(&record, sequence));
                    }
                }
            }
        }
    }

    fn close(&mut self, name: &[u8]) {
        self.handed.remove(name);
        self.forget_state(name);
        if let Some(event) = self.open.remove(name) {
            self.bytes -= event.payload.len();
        }
    }

    fn forget_state(&mut self, name: &[u8]) {
        if let Some(event) = self.states.remove(name) {
            self.bytes -= event.payload.len();
        }
    }

    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        self.open.keys().cloned().collect()
    }

    pub(crate) fn is_open(&self, name: &[u8]) -> bool {
        self.open.contains_key(name)
    }

    /// Returns the opening events of these pins and their states, each only once, in the order in which they were
    /// written.
    pub(crate) fn take_new(&mut self, names: &[Vec<u8>]) -> Vec<StoredEvent> {
        let mut events = Vec::new();
        for name in names {
            if let Some(event) = self.open.get(name)
                && self.handed.insert(name.clone())
            {
                events.push(event.clone());
                events.extend(self.states.get(name).cloned());
            }
        }
        events.sort_by_key(|event| event.sequence);
        events
    }
}

fn stored(record: &BatchRecord<'_>, sequence: u64) -> StoredEvent {
    StoredEvent {
        sequence: Sequence::new(sequence),
        name: record.name().to_owned(),
        key: record.stream_key().copied(),
        pin: record.pin(),
        payload: Bytes::copy_from_slice(record.payload()),
    }
}
