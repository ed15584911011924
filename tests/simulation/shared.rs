//! A store that two logs share. Each log has its own handle, which fails by its own script. If a log
//! appends a batch again after a lost response, the store keeps the batch once.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        event::StreamKey,
        retention::Retention,
    },
    scripted_store::{Fault, Kept, PATIENCE, Script, epochs, note, sleep, stored},
    store::{Appended, EpochStart, EventStore, HeadFuture, PageLimit, ReadFuture, SharedLog},
    util::sync::{Condvar, Instant, Mutex, lock},
    wire::id::Sequence,
};

/// The data that both logs share.
#[derive(Debug, Default)]
struct Database {
    events: Mutex<Vec<StoredEvent>>,
    changed: Condvar,
}

/// One log's handle on the store.
#[derive(Debug)]
pub(crate) struct SharedStore {
    database: Arc<Database>,
    script: Arc<std::sync::Mutex<Script>>,
    /// A batch that is kept although its append returned an error. Also its first sequence, which
    /// the log does not know.
    unacknowledged: std::sync::Mutex<Option<(Vec<Vec<u8>>, Sequence)>>,
    /// The number of interrupts, and how many of them each of the two waits has seen.
    interrupts: AtomicU64,
    heeded: [AtomicU64; 2],
    tail: Retention,
}

/// Makes the store work from now on.
pub(crate) type Heal = Arc<dyn Fn() + Send + Sync>;

pub(crate) fn shared(scripts: [Script; 2], tail: Retention) -> ([SharedStore; 2], Kept, Heal) {
    let database = Arc::new(Database::default());
    let scripts = scripts.map(|script| Arc::new(std::sync::Mutex::new(script)));
    let healed = scripts.clone();
    let heal = move || {
        for script in &healed {
            let mut script = script.lock().unwrap();
            script.stretches.clear();
            script.reads_fail = false;
        }
    };
    let stores = scripts.map(|script| SharedStore {
        database: Arc::clone(&database),
        script,
        unacknowledged: std::sync::Mutex::default(),
        interrupts: AtomicU64::default(),
        heeded: Default::default(),
        tail,
    });
    let kept = move || lock(&database.events).clone();
    (stores, Arc::new(kept), Arc::new(heal))
}

impl SharedStore {
    fn fails(&self) -> bool {
        self.script.lock().unwrap().fails()
    }

    /// Returns the events that are kept, out of all that were ever stored.
    fn kept(&self, events: &[StoredEvent]) -> Vec<StoredEvent> {
        self.script.lock().unwrap().kept(events)
    }

    fn page(&self, events: &[StoredEvent], limit: PageLimit) -> Vec<StoredEvent> {
        let few = 1 + self.script.lock().unwrap().random.below(8);
        events.iter().take(limit.events.min(few)).cloned().collect()
    }

    fn read(&self, after: Sequence, limit: PageLimit, keys: &[StreamKey]) -> ReadFuture<'_> {
        if self.fails() {
            return Box::pin(ready(Err(Error::store_failed("it cannot be read"))));
        }
        let wanted = |event: &&StoredEvent| {
            let key = event.key;
            event.sequence > after && (keys.is_empty() || key.is_none_or(|key| keys.contains(&key)))
        };
        let kept = self.kept(&lock(&self.database.events));
        let events: Vec<StoredEvent> = kept.iter().filter(wanted).cloned().collect();
        Box::pin(ready(Ok(self.page(&events, limit))))
    }

    /// Waits until `poll` finds something. Returns nothing if the time has passed or the wait is
    /// interrupted. Fails if the script makes this read fail.
    fn wait<T>(
        &self,
        who: usize,
        patience: Duration,
        poll: impl Fn(&[StoredEvent]) -> Vec<T>,
    ) -> Result<Vec<T>, Error> {
        if self.fails() {
            return Err(Error::store_failed("it cannot be asked"));
        }
        let begun = Instant::now();
        let mut events = lock(&self.database.events);
        loop {
            let found = poll(&events);
            let interrupts = self.interrupts.load(Ordering::Relaxed);
            let is_interrupted = self.heeded[who].swap(interrupts, Ordering::Relaxed) < interrupts;
            let left = patience.saturating_sub(begun.elapsed());
            if !found.is_empty() || is_interrupted || left.is_zero() {
                return Ok(found);
            }
            events = self.database.changed.wait_timeout(events, left).unwrap().0;
        }
    }
}

impl EventStore for SharedStore {
    fn kind(&self) -> &'static str {
        "shared"
    }

    fn open(&self) -> Result<Sequence, Error> {
        let events = lock(&self.database.events);
        Ok(events
            .last()
            .map_or(Sequence::START, |event| event.sequence))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        epochs()
    }

    fn append(&self, _first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let (fault, time) = {
            let mut script = self.script.lock().unwrap();
            (script.next(), PATIENCE * script.random.one_of(&[1, 3]))
        };
        match fault {
            Some(Fault::Refuses) => return Err(Error::store_failed("it refuses")),
            Some(Fault::Panics) => panic!("the store of a simulation panics"),
            Some(Fault::IsLate | Fault::IsLateAndRefuses) => {
                if self.append_timeout().is_some() && time > PATIENCE {
                    note(&self.script.lock().unwrap().witness.is_late);
                }
                sleep(time);
            }
            // The log must not append the batch again while this append runs. The store would keep
            // the batch twice.
            Some(Fault::KeepsUnacknowledged) if time > PATIENCE => sleep(time),
            _ => {}
        }
        if fault == Some(Fault::IsLateAndRefuses) {
            return Err(Error::store_failed("it refuses after a while"));
        }
        let payloads: Vec<Vec<u8>> = batch
            .iter()
            .map(|record| record.payload().to_vec())
            .collect();
        let unacknowledged = self.unacknowledged.lock().unwrap().take();
        if let Some((_, first)) =
            unacknowledged.filter(|(unacknowledged, _)| *unacknowledged == payloads)
        {
            return Ok(first.into());
        }
        let mut events = lock(&self.database.events);
        let first = events.len() as u64 + 1;
        let new = batch.iter().zip(first..);
        events.extend(new.map(|(record, sequence)| stored(&record, sequence)));
        drop(events);
        self.database.changed.notify_all();
        let first = Sequence::new(first);
        if fault == Some(Fault::KeepsUnacknowledged) {
            *self.unacknowledged.lock().unwrap() = Some((payloads, first));
            return Err(Error::store_failed("its answer is lost"));
        }
        Ok(first.into())
    }

    fn oldest(&self) -> Sequence {
        let events = lock(&self.database.events);
        self.script.lock().unwrap().oldest(&events)
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        self.read(after, limit, &[])
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        self.read(after, limit, keys)
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        Some(self)
    }

    fn append_timeout(&self) -> Option<Duration> {
        self.script.lock().unwrap().append_timeout
    }

    fn tail_retention(&self) -> Retention {
        self.tail
    }
}

impl SharedLog for SharedStore {
    fn head(&self) -> HeadFuture<'_> {
        let head = self.open();
        Box::pin(ready(if self.fails() {
            Err(Error::store_failed("it cannot be asked"))
        } else {
            head
        }))
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        self.wait(0, timeout, |events| {
            let kept = self.kept(events);
            let from = kept.partition_point(|event| event.sequence <= after);
            self.page(&kept[from..], limit)
        })
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        self.wait(1, timeout, |events| {
            let newest = |key: Option<StreamKey>, seen: Sequence| {
                let newest = events.iter().rev().find(|event| event.key == key)?;
                (newest.sequence > seen).then_some((key, newest.sequence))
            };
            let changed = streams
                .iter()
                .filter_map(|(key, seen)| newest(Some(*key), *seen));
            changed.chain(newest(None, global_after)).collect()
        })
    }

    fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        // Locked once, so that the interrupt cannot fall between a check and the wait after it.
        drop(lock(&self.database.events));
        self.database.changed.notify_all();
    }
}
