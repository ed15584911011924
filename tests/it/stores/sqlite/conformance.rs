//! The suite that every store must pass.

use livespan::{SqliteEventStore, Synchronous, testing::Suite};

#[test]
fn the_sqlite_store_keeps_its_promises() {
    Suite::new(|place| {
        SqliteEventStore::new(place.directory().join("events.db"))
            .retention(place.retention())
            .synchronous(Synchronous::Off)
    })
    .run();
}
