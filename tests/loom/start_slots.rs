//! Models the start slots. The worker processes records in the order of their numbers. In the slot
//! that an end delta names, it must find the start of the same span.

use std::{collections::BTreeMap, sync::OnceLock};

use loom::{sync::Arc, thread};

use crate::{
    span::delta::slots::{SentPrefix, SlotKey, SlotTable, StartScope, StartSlots, free_slots},
    util::sync::atomic::{AtomicU64, Ordering},
};

/// A record's instruction to the worker for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Record {
    /// The worker caches the start in the slot.
    Remember(SlotTable, u64),
    /// The end has only the fields that the start lacks. The worker takes the start from the slot.
    EndDelta(SlotTable, u64),
}

fn key(span: u64) -> SlotKey {
    SlotKey::of([0; 16], span.to_be_bytes())
}

struct Log {
    slots: StartSlots,
    /// Numbers records as the ingest buffer does: one counter for all threads.
    next: AtomicU64,
}

impl Log {
    /// Makes this many slots. With so few, spans compete for the same slot.
    fn new(small: usize, large: usize) -> Self {
        Self {
            slots: StartSlots::with_slots(
                free_slots(small),
                large,
                OnceLock::from(free_slots(large)),
            ),
            next: AtomicU64::new(0),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts and ends a span as the processor does.
    fn span(&self, span: u64, records: &mut Vec<(u64, Record)>) {
        let sent = SentPrefix::new(3, StartScope::Recorded).unwrap();
        let guard = self.slots.acquire(key(span), Some(sent));
        if let Some(table) = guard.table() {
            records.push((self.number(), Record::Remember(table, span)));
            guard.keep();
        }
        if let Some(found) = self.slots.find(key(span)) {
            assert_eq!(found.sent, Some(sent));
            records.push((self.number(), Record::EndDelta(found.table(), span)));
            found.release();
        }
    }
}

/// One of several spans with the same slot key. It may get an end delta only if no other of them was
/// open meanwhile.
struct Twin(u64);

impl Twin {
    fn run(&self, log: &Log, records: &mut Vec<(u64, Record)>) {
        let sent = SentPrefix::new(3, StartScope::Recorded).unwrap();
        let guard = log.slots.acquire(key(0), Some(sent));
        if let Some(table) = guard.table() {
            records.push((log.number(), Record::Remember(table, self.0)));
        }
        guard.keep();
        if let Some(found) = log.slots.find(key(0)) {
            if found.sent.is_some() {
                records.push((log.number(), Record::EndDelta(found.table(), self.0)));
            }
            found.release();
        }
    }
}

/// The worker never combines the end of a span with the start of its twin.
pub(crate) fn an_end_delta_never_finds_the_start_of_a_twin() {
    let log = Arc::new(Log::new(1, 0));
    let threads: Vec<_> = [1, 2]
        .into_iter()
        .map(|span| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut records = Vec::new();
                Twin(span).run(&log, &mut records);
                Twin(span + 2).run(&log, &mut records);
                records
            })
        })
        .collect();
    let records = threads.into_iter().map(|thread| thread.join().unwrap());
    let mut records: Vec<(u64, Record)> = records.flatten().collect();
    records.sort_unstable();
    let mut remembered = None;
    for (_, record) in &records {
        match *record {
            // The worker may still keep the start of a span that got a complete end. The new start replaces it.
            Record::Remember(_, span) => remembered = Some(span),
            Record::EndDelta(_, span) => assert_eq!(remembered.take(), Some(span), "{records:?}"),
        }
    }
    assert!(log.slots.find(key(0)).is_none());
}

/// Reads the records as the worker does.
fn read(mut records: Vec<(u64, Record)>) {
    records.sort_unstable();
    let mut remembered = BTreeMap::new();
    for (_, record) in &records {
        match *record {
            Record::Remember(table, span) => {
                assert_eq!(remembered.insert(table, span), None, "{records:?}");
            }
            Record::EndDelta(table, span) => {
                assert_eq!(remembered.remove(&table), Some(span), "{records:?}");
            }
        }
    }
}

pub(crate) fn an_end_delta_finds_its_own_start() {
    threads_with(&[1, 2], 2, 1, 0);
}

/// The same check for a span that has two possible slots.
pub(crate) fn an_end_delta_finds_its_own_start_in_the_other_table() {
    threads_with(&[1, 2, 3], 1, 1, 1);
}

fn threads_with(spans: &[u64], times: u8, small: usize, large: usize) {
    let log = Arc::new(Log::new(small, large));
    let threads: Vec<_> = spans
        .iter()
        .map(|span| {
            let (log, span) = (Arc::clone(&log), *span);
            thread::spawn(move || {
                let mut records = Vec::new();
                for _again in 0..times {
                    log.span(span, &mut records);
                }
                records
            })
        })
        .collect();
    let records = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    read(records.collect());
}
