//! The conformance suite, run against a store in SQLite.

use livespan::{SqliteEventStore, store::Synchronous};
use livespan_conformance::{Fault, StoreLocation, Suite};
use rusqlite::Connection;

/// Makes appends fail inside the file by a trigger.
fn inject(location: &StoreLocation, fault: Fault) -> bool {
    let refuse = |when: &str| {
        format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN {when}
             BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"
        )
    };
    let sql = match fault {
        Fault::RefuseAppends => refuse("true"),
        // Fails at the fifth event of the next batch. The suite appends once before it requests
        // this fault.
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
