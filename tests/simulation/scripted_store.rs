//! A store that follows a script: an append works, refuses, panics, or is late and then works or
//! refuses. A read may be late, be short, or fail, and may find only the newest and open events.

use std::{
    collections::HashSet,
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use crate::{
    clock::Alarm,
    error::Error,
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        event::{Pinning, StreamKey},
        retention::Retention,
    },
    random::Random,
    store::{Appended, EpochStart, EventStore, PageLimit, ReadFuture},
    util::sync::thread,
    wire::id::{Epoch, Sequence},
};

/// The append time-out of a store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// A fault of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refuses,
    /// Keeps the events, but returns an error. Only shared stores do so.
    KeepsUnacknowledged,
    Panics,
    /// Is late, and then works.
    IsLate,
    /// Is late, and then refuses.
    IsLateAndRefuses,
    /// Panics on the log's own thread when the log asks for the append time-out. This ends the log.
    EndsTheLog,
}

/// The script of a store.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Stretches of appends, the first one last: the number of appends, and their fault.
    pub(crate) stretches: Vec<(usize, Option<Fault>)>,
    /// Whether reads fail at times.
    pub(crate) reads_fail: bool,
    /// Whether other tasks may run before a page is returned.
    pub(crate) reads_wait: bool,
    /// The append time-out. Without one, the log's own thread appends.
    pub(crate) append_timeout: Option<Duration>,
    /// How many of its newest events the store keeps; `None` means all.
    pub(crate) keeps: Option<usize>,
    pub(crate) random: Random,
    pub(crate) witness: Arc<Witness>,
}

/// Records the stores' behaviour that the readers' events do not show.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// An append to a shared store exceeded its time-out.
    pub(crate) is_late: AtomicBool,
    /// A read failed.
    pub(crate) has_failed_read: AtomicBool,
    /// The store evicted events in the middle of streams.
    pub(crate) has_evicted: AtomicBool,
}

/// Sets the flag of a behaviour that has occurred.
pub(crate) fn note(witnessed: &AtomicBool) {
    witnessed.store(true, Ordering::Relaxed);
}

#[derive(Debug)]
struct State {
    script: Script,
    events: Vec<StoredEvent>,
    /// How often the log has asked for the append time-out.
    asked: usize,
}

#[derive(Debug)]
pub(crate) struct ScriptedStore {
    state: Arc<Mutex<State>>,
    tail: Retention,
}

/// Returns the events that a store has at the end.
pub(crate) type Kept = Arc<dyn Fn() -> Vec<StoredEvent> + Send + Sync>;

impl ScriptedStore {
    pub(crate) fn new(script: Script, tail: Retention) -> (Self, Kept) {
        let state = State {
            script,
            events: Vec::new(),
            asked: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let kept = Arc::clone(&state);
        let kept = move || kept.lock().unwrap().events.clone();
        (Self { state, tail }, Arc::new(kept))
    }

    fn read(
        &self,
        after: Sequence,
        limit: PageLimit,
        keys: &[StreamKey],
    ) -> impl Future<Output = Result<Vec<StoredEvent>, Error>> + Send + use<> {
        let (state, keys) = (Arc::clone(&self.state), keys.to_vec());
        let mut is_late = state.lock().unwrap().script.waits();
        poll_fn(move |cx| {
            if std::mem::take(&mut is_late) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut state = state.lock().unwrap();
            let State { script, events, .. } = &mut *state;
            if script.fails() {
                return Poll::Ready(Err(Error::store_failed("it cannot be read")));
            }
            let events_max = limit.events.min(1 + script.random.below(8));
            let kept = script.kept(events);
            let wanted = kept.iter().filter(|event| {
                let key = event.key;
                event.sequence > after
                    && (keys.is_empty() || key.is_none_or(|key| keys.contains(&key)))
            });
            Poll::Ready(Ok(wanted.take(events_max).cloned().collect()))
        })
    }
}

impl Script {
    /// Returns whether the script contains no failure.
    pub(crate) fn works(&self) -> bool {
        self.stretches.is_empty() && !self.reads_fail
    }

    /// Returns whether this read should fail.
    pub(crate) fn fails(&mut self) -> bool {
        let fails = self.reads_fail && self.random.once_in(6);
        if fails {
            note(&self.witness.has_failed_read);
        }
        fails
    }

    /// Returns the first position from which on every event is kept.
    pub(crate) fn oldest(&self, events: &[StoredEvent]) -> Sequence {
        let gone = self
            .keeps
            .map_or(0, |keeps| events.len().saturating_sub(keeps));
        events
            .get(gone)
            .filter(|_| gone > 0)
            .map_or(Sequence::new(1), |event| event.sequence)
    }

    /// Returns the events that are kept, out of all that were ever stored: the newest ones and the
    /// open ones.
    pub(crate) fn kept(&self, events: &[StoredEvent]) -> Vec<StoredEvent> {
        let oldest = self.oldest(events);
        let mut later = HashSet::new();
        let mut kept = Vec::new();
        for event in events.iter().rev() {
            let is_open = match event.pin {
                Pinning::Open(token) => later.insert((event.key, token)),
                Pinning::Close(token) => {
                    later.insert((event.key, token));
                    false
                }
                // The encoder of the simulation writes no state.
                Pinning::None | Pinning::State(_) => false,
            };
            if event.sequence >= oldest || is_open {
                kept.push(event.clone());
            } else {
                note(&self.witness.has_evicted);
            }
        }
        kept.reverse();
        kept
    }

    fn waits(&mut self) -> bool {
        self.reads_wait && self.random.once_in(2)
    }

    pub(crate) fn next(&mut self) -> Option<Fault> {
        let (left, fault) = self.stretches.last_mut()?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.stretches.pop();
        }
        fault
    }
}

impl EventStore for ScriptedStore {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn open(&self) -> Result<Sequence, Error> {
        Ok(Sequence::START)
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        epochs()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        let fault = self.state.lock().unwrap().script.next();
        match fault {
            Some(Fault::Refuses) => return Err(Error::store_failed("it refuses")),
            Some(Fault::Panics) => panic!("the store of a simulation panics"),
            Some(Fault::IsLate | Fault::IsLateAndRefuses) => sleep(PATIENCE * 3),
            Some(Fault::EndsTheLog | Fault::KeepsUnacknowledged) | None => {}
        }
        if fault == Some(Fault::IsLateAndRefuses) {
            return Err(Error::store_failed("it refuses after a while"));
        }
        let mut state = self.state.lock().unwrap();
        let newest = state.events.last().map(|event| event.sequence);
        assert!(
            newest.is_none_or(|newest| newest < first),
            "the log used a sequence again"
        );
        for (record, sequence) in batch.iter().zip(first.get()..) {
            state.events.push(stored(&record, sequence));
        }
        Ok(first.into())
    }

    fn oldest(&self) -> Sequence {
        let state = self.state.lock().unwrap();
        state.script.oldest(&state.events)
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(self.read(after, limit, &[]))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        Box::pin(self.read(after, limit, keys))
    }

    fn append_timeout(&self) -> Option<Duration> {
        let mut state = self.state.lock().unwrap();
        let next = state.script.stretches.last();
        // The first call is not made by the log's own thread, but by the thread that opens the log.
        let ends =
            next.is_some_and(|(_, fault)| *fault == Some(Fault::EndsTheLog)) && state.asked > 0;
        state.asked += 1;
        drop(state);
        assert!(!ends, "the log's thread panics");
        Some(PATIENCE)
    }

    fn tail_retention(&self) -> Retention {
        self.tail
    }
}

pub(crate) fn sleep(time: Duration) {
    let alarm = Alarm::set(time);
    while !alarm.is_over() {
        thread::park();
    }
}

pub(crate) fn stored(record: &BatchRecord<'_>, sequence: u64) -> StoredEvent {
    StoredEvent {
        sequence: Sequence::new(sequence),
        name: record.name().to_owned(),
        key: record.stream_key().copied(),
        pin: record.pin(),
        payload: record.payload().to_vec().into(),
    }
}

pub(crate) fn epochs() -> Arc<[EpochStart]> {
    Arc::new([EpochStart {
        epoch: "s1mu1ate".parse::<Epoch>().unwrap(),
        first: Sequence::new(1),
    }])
}
