//! A rest finds its own start: the worker, which goes by the numbers of records, never finds another start in the place of
//! the one that an end needs.

use std::collections::BTreeMap;

use loom::{sync::Arc, thread};

use crate::{
    span::delta::slots::{Key, Leases, Region, Scope, Sent},
    util::sync::atomic::{AtomicU64, Ordering},
};

/// What a record tells the worker of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Record {
    /// The start is to be remembered.
    Remember(Region, u64),
    /// The end says only what the start did not.
    Rest(Region, u64),
}

fn key(span: u64) -> Key {
    Key::of([0; 16], span.to_be_bytes())
}

struct Log {
    leases: Leases,
    /// As the intake numbers: one counter for all threads.
    next: AtomicU64,
}

impl Log {
    /// With so few places that all spans want the same.
    fn new(near: usize, far: usize) -> Self {
        Self {
            leases: Leases::with_places(near, far),
            next: AtomicU64::new(0),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a span and ends it, as the processor does.
    fn span(&self, span: u64, records: &mut Vec<(u64, Record)>) {
        let sent = Sent::new(3, Scope::Sent).unwrap();
        let lease = self.leases.take(key(span), Some(sent));
        if let Some(region) = lease.region() {
            records.push((self.number(), Record::Remember(region, span)));
            lease.keep();
        }
        if let Some(found) = self.leases.find(key(span)) {
            assert_eq!(found.sent, sent);
            records.push((self.number(), Record::Rest(found.region(), span)));
            found.release();
        }
    }
}

/// Reads the records as the worker does.
fn read(mut records: Vec<(u64, Record)>) {
    records.sort_unstable();
    let mut remembered = BTreeMap::new();
    for (_, record) in &records {
        match *record {
            Record::Remember(region, span) => {
                assert_eq!(remembered.insert(region, span), None, "{records:?}");
            }
            Record::Rest(region, span) => {
                assert_eq!(remembered.remove(&region), Some(span), "{records:?}");
            }
        }
    }
}

pub(crate) fn a_rest_finds_its_own_start() {
    threads_with(&[1, 2], 2, 1, 0);
}

/// The same where a span can have one of two places.
pub(crate) fn a_rest_finds_its_own_start_in_the_other_place() {
    threads_with(&[1, 2, 3], 1, 1, 1);
}

fn threads_with(spans: &[u64], times: u8, near: usize, far: usize) {
    let log = Arc::new(Log::new(near, far));
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
