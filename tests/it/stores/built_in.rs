//! The stores that need nothing, in the conformance suite.

use livespan::{MemoryEventStore, NullEventStore, testing::Suite};

#[test]
fn the_memory_store_keeps_its_promises() {
    Suite::new(|place| MemoryEventStore::with_retention(place.retention()))
        .volatile()
        .run();
}

#[test]
fn the_null_store_keeps_its_promises() {
    Suite::new(|_| NullEventStore::new())
        .keeping_nothing()
        .run();
}
