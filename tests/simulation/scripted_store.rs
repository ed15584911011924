//! A store that keeps everything, and does what its script says: it works, refuses, panics, or takes its time and then
//! does one of these. Its reads come late, short, or not at all.

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

/// How long the store may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// What a store may do besides working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refuses,
    /// It keeps the events, and says that it could not.
    KeepsUnheard,
    Panics,
    /// It takes its time, and then works.
    IsLate,
    /// It takes its time, and then refuses.
    IsLateAndRefuses,
    /// Where the log asks it for its patience, on its own thread, it panics: the log ends.
    EndsTheLog,
}

/// What it is like.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Stretches of appends in which it does something else: how many, and what.
    pub(crate) stretches: Vec<(usize, Option<Fault>)>,
    /// Whether reads fail now and then.
    pub(crate) reads_fail: bool,
    /// Whether others have their turn before a page comes, now and then.
    pub(crate) reads_wait: bool,
    /// How long an append may take; without a limit, the log's own thread appends.
    pub(crate) append_timeout: Option<Duration>,
    /// How many of its newest events it keeps; all when it is not set.
    pub(crate) keeps: Option<usize>,
    pub(crate) random: Random,
    pub(crate) witness: Arc<Witness>,
}

/// What stores have done that a history cannot tell from what readers saw.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// An append to a shared store was not answered in time.
    pub(crate) is_late: AtomicBool,
    /// A read failed.
    pub(crate) has_failed_read: AtomicBool,
    /// Events were let go of in the middle of streams.
    pub(crate) has_evicted: AtomicBool,
}

/// Says that something has happened.
pub(crate) fn note(happened: &AtomicBool) {
    happened.store(true, Ordering::Relaxed);
}

#[derive(Debug)]
struct State {
    script: Script,
    events: Vec<StoredEvent>,
    /// How often it was asked for its patience.
    asked: usize,
}

#[derive(Debug)]
pub(crate) struct ScriptedStore {
    state: Arc<Mutex<State>>,
    tail: Retention,
}

/// What a store keeps in the end.
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
    /// Whether nothing in it fails.
    pub(crate) fn works(&self) -> bool {
        self.stretches.is_empty() && !self.reads_fail
    }

    /// Whether a read fails now.
    pub(crate) fn fails(&mut self) -> bool {
        let fails = self.reads_fail && self.random.once_in(6);
        if fails {
            note(&self.witness.has_failed_read);
        }
        fails
    }

    /// The oldest event from which on it keeps all.
    pub(crate) fn oldest(&self, events: &[StoredEvent]) -> Sequence {
        let gone = self
            .keeps
            .map_or(0, |keeps| events.len().saturating_sub(keeps));
        events
            .get(gone)
            .filter(|_| gone > 0)
            .map_or(Sequence::new(1), |event| event.sequence)
    }

    /// What it keeps of all events that it ever stored: the newest, and what is still open of the others.
    pub(crate) fn kept(&self, events: &[StoredEvent]) -> Vec<StoredEvent> {
        let oldest = self.oldest(events);
        let mut later = HashSet::new();
        let mut kept = Vec::new();
        for event in events.iter().rev() {
            let is_open = match event.pin {
                Pinning::None => false,
                Pinning::Open(token) => later.insert((event.key, token)),
                Pinning::Close(token) => {
                    later.insert((event.key, token));
                    false
                }
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
            Some(Fault::EndsTheLog | Fault::KeepsUnheard) | None => {}
        }
        if fault == Some(Fault::IsLateAndRefuses) {
            return Err(Error::store_failed("it refuses after a while"));
        }
        let mut state = self.state.lock().unwrap();
        let newest = state.events.last().map(|event| event.sequence);
        assert!(
            newest.is_none_or(|newest| newest < first),
            "a number is used again"
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
        // The first time is at opening, on the thread of who opens.
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
