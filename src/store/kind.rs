//! Distinguishes the store that is the log's own memory from every other store. A builder makes this value once. Later
//! code calls [`Log::is_in_memory`](crate::engine::log::Log::is_in_memory) instead.

use std::{any::Any, sync::Arc};

use crate::store::{EventStore, memory::MemoryEventStore};

/// A store, as passed to a builder.
#[derive(Clone, Debug)]
pub(crate) enum StoreKind {
    /// The log reads and publishes the blocks of this store directly.
    Memory(Arc<MemoryEventStore>),
    /// The log keeps its newest events in memory, and reads older ones from this store.
    Dyn(Arc<dyn EventStore>),
}

impl StoreKind {
    pub(crate) fn new(store: impl EventStore) -> Self {
        let store = Arc::new(store);
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(&store) as _;
        any.downcast::<MemoryEventStore>()
            .map_or_else(|_| Self::Dyn(store), Self::Memory)
    }
}

impl Default for StoreKind {
    fn default() -> Self {
        Self::new(MemoryEventStore::new())
    }
}
