//! [`Page`] is one answer of the store to a reader. Plain data; the reader's task uses it.

use std::{future::Future, pin::Pin};

use crate::{error::Error, log::batch::StoredEvent};

pub(super) type PageQuery = Pin<Box<dyn Future<Output = Result<Page, Error>> + Send>>;

/// One page of the store, with the state of the store and memory before and after the read. Retention continues during
/// the read, so this state alone shows which events were removed before the read and which during it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<StoredEvent>,
    /// The store's oldest event before the read: earlier events in the page are pinned, that is, kept beyond retention.
    pub(super) oldest_before: u64,
    /// The store's oldest event after the read. Every removed event that the page lacks is before it.
    pub(super) oldest_after: u64,
    /// Events from here on were in memory before the read, or not visible yet. The page may lack these events.
    pub(super) bound: u64,
    /// Whether retention has removed no event of the reader's streams. Checked only if the page begins before
    /// `oldest_after`; otherwise `false`. A running trace may be whole although its first events are far before the
    /// store's oldest.
    pub(super) is_whole: bool,
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
