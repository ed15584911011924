//! The conformance suite for the stores that need no server and no file.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use livespan::{MemoryEventStore, NullEventStore};
use livespan_conformance::Suite;

use crate::core::stores::{Shared, VecStore};

#[test]
fn the_memory_store_keeps_its_promises() {
    Suite::new(|location| MemoryEventStore::with_retention(location.retention()))
        .volatile()
        .run();
}

#[test]
fn the_null_store_keeps_its_promises() {
    Suite::new(|_| NullEventStore::new()).write_only().run();
}

#[test]
fn the_store_of_these_tests_keeps_its_promises() {
    let locations: Mutex<HashMap<String, Arc<VecStore>>> = Mutex::default();
    let keeps_all = "it keeps everything";
    Suite::new(move |location| {
        let mut locations = locations.lock().unwrap();
        let store = locations.entry(location.name().to_owned());
        Shared(Arc::clone(
            store.or_insert_with(|| Arc::new(VecStore::new(1))),
        ))
    })
    .skip_check("retains_by_events", keeps_all)
    .skip_check("retains_by_bytes", keeps_all)
    .skip_check("retains_by_age", keeps_all)
    .skip_check("hands_out_abandoned_events", "it leaves closing to its log")
    .without_dedup()
    .run();
}
