//! The suite that every store must pass.

use livespan::{SqliteEventStore, store::Synchronous};
use livespan_conformance::{Fault, StoreLocation, Suite};
use rusqlite::Connection;

/// Makes appends fail from within the file, as a trigger of it.
fn inject(location: &StoreLocation, fault: Fault) -> bool {
    let refuse = |when: &str| {
        format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN {when}
             BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"
        )
    };
    let sql = match fault {
        Fault::RefuseAppends => refuse("true"),
        // The fifth event of the batch; the suite appends once before it asks for peace.
        Fault::BreakAppend => refuse("NEW.sequence = (SELECT head FROM state) + 5"),
        Fault::None => "DROP TRIGGER refuse".to_owned(),
        _ => return false,
    };
    let connection = Connection::open(location.directory().join("events.db")).unwrap();
    connection.execute_batch(&sql).unwrap();
    true
}

#[test]
fn the_sqlite_store_keeps_its_promises() {
    Suite::new(|location| {
        SqliteEventStore::new(location.directory().join("events.db"))
            .retention(location.retention())
            .synchronous(Synchronous::Off)
    })
    .faults(inject)
    .run();
}
