//! [`Page`]: what a reader gets from the store at once. Plain data; the reader's task uses it.

use std::{future::Future, pin::Pin};

use crate::{error::Error, log::batch::StoredEvent};

pub(super) type PageQuery = Pin<Box<dyn Future<Output = Result<Page, Error>> + Send>>;

/// A page of the store, and what the store and memory had around the read. Retention goes on while a page is read, so
/// only this tells which events were gone before the read and which went after it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<StoredEvent>,
    /// The store's oldest event before the read: earlier events in the page are kept beyond retention.
    pub(super) oldest_before: u64,
    /// The store's oldest event after the read: every event that the page lacks because it was removed is before it.
    pub(super) oldest_after: u64,
    /// Events from here on were in memory before the read, or not visible yet. The page may lack them.
    pub(super) bound: u64,
}

impl Page {
    /// Returns the events in `from..to`.
    pub(super) fn between(&self, from: u64, to: u64) -> &[StoredEvent] {
        let from = self.place(from);
        self.events.get(from..self.place(to)).unwrap_or_default()
    }

    fn place(&self, sequence: u64) -> usize {
        self.events
            .partition_point(|event| event.sequence.get() < sequence)
    }
}
