//! A rest finds its own start: the worker, which goes by the numbers of records, never finds another start in the place of
//! the one that an end needs.

use loom::{sync::Arc, thread};

use crate::{
    lease::{Key, Leases, Scope, Sent},
    sync::atomic::{AtomicU64, Ordering},
};

/// What a record tells the worker of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Record {
    /// The start is to be remembered.
    Remember(u64),
    /// The end says only what the start did not.
    Rest(u64),
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
    /// With one place, which all spans want.
    fn new() -> Self {
        Self {
            leases: Leases::with_places(1),
            next: AtomicU64::new(0),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a span and ends it, as the processor does.
    fn span(&self, span: u64, records: &mut Vec<(u64, Record)>) {
        let sent = Sent::new(3, Scope::Sent).unwrap();
        if self.leases.take(key(span), sent) {
            records.push((self.number(), Record::Remember(span)));
        }
        if let Some(found) = self.leases.find(key(span)) {
            assert_eq!(found, sent);
            records.push((self.number(), Record::Rest(span)));
            self.leases.release(key(span));
        }
    }
}

/// Reads the records as the worker does.
fn read(mut records: Vec<(u64, Record)>) {
    records.sort_unstable();
    let mut remembered = None;
    for (_, record) in &records {
        match *record {
            Record::Remember(span) => {
                assert_eq!(remembered.replace(span), None, "{records:?}");
            }
            Record::Rest(span) => assert_eq!(remembered.take(), Some(span), "{records:?}"),
        }
    }
}

pub(crate) fn a_rest_finds_its_own_start() {
    let log = Arc::new(Log::new());
    let threads = [1, 2].map(|span| {
        let log = Arc::clone(&log);
        thread::spawn(move || {
            let mut records = Vec::new();
            for _again in 0..2 {
                log.span(span, &mut records);
            }
            records
        })
    });
    let records = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    read(records.collect());
}
