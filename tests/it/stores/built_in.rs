//! The stores that need nothing, in the conformance suite.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use livespan::{MemoryEventStore, NullEventStore};
use livespan_conformance::Suite;

use crate::core::stores::{Shared, VecStore};

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

#[test]
fn the_store_of_these_tests_keeps_its_promises() {
    let places: Mutex<HashMap<String, Arc<VecStore>>> = Mutex::default();
    let keeps_all = "it keeps everything";
    Suite::new(move |place| {
        let mut places = places.lock().unwrap();
        let store = places.entry(place.name().to_owned());
        Shared(Arc::clone(
            store.or_insert_with(|| Arc::new(VecStore::new(1))),
        ))
    })
    .without("retains_by_events", keeps_all)
    .without("retains_by_bytes", keeps_all)
    .without("retains_by_age", keeps_all)
    .without("hands_out_abandoned_events", "it leaves closing to its log")
    .keeping_repeats()
    .run();
}
