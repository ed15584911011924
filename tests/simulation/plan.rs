//! The plan of a history, decided by a seed: the operations of each task, the behaviour of the
//! store, and the end of the history.

use std::{sync::Arc, time::Duration};

use crate::{
    ingest::buffer::RecordClass,
    log::{event::StreamKey, retention::Retention},
    random::Random,
    scripted_store::{Fault, PATIENCE, Script, Witness},
    wire::id::ResumePoint,
};

pub(crate) const LONG: Duration = Duration::from_secs(600);
/// Longer than all sleeps of a history whose store works, and shorter than the time that the log
/// sleeps if a wake-up is missing. It cannot be used with a shared store, because the log reads
/// such a store every second, which hides a missing wake-up.
const SHORT: Duration = Duration::from_secs(3);
const STREAMS: [&str; 3] = ["a", "b", "c"];

/// The encoder's treatment of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Event,
    Nothing,
    Panic,
}

/// One operation of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Push(RecordClass, Mood),
    /// Dispatches an event and waits for its id.
    Dispatch,
    Flush,
    Sleep(Duration),
    /// The clock jumps, as if the machine had been asleep.
    Jump(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct ReaderPlan {
    pub(crate) streams: Vec<StreamKey>,
    pub(crate) from: ResumePoint,
    /// The number of events after which each connection is cut; 0 for never.
    pub(crate) cut: usize,
}

/// The way in which the history ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The log is shut down when every task is done.
    Late,
    /// The log is shut down early, after this many turns of other tasks.
    Early(usize),
    /// The log is dropped early, after this many turns of other tasks.
    Dropped(usize),
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) writers: Vec<Vec<Op>>,
    pub(crate) readers: Vec<ReaderPlan>,
    pub(crate) retention: Retention,
    pub(crate) storage: Storage,
    pub(crate) buffer_events: usize,
    pub(crate) end: End,
}

impl Plan {
    pub(crate) fn of(random: &mut Random, is_eager: bool) -> Self {
        let (writers, readers) = (1 + random.below(3), 1 + random.below(3));
        let jumps = random.once_in(4);
        Self {
            writers: (0..writers).map(|_| ops(random, jumps)).collect(),
            readers: (0..readers).map(|_| ReaderPlan::of(random)).collect(),
            retention: Retention::default()
                .events(random.one_of(&[3, 10, 10_000]))
                .age(Duration::from_secs(random.one_of(&[1, 86_400]))),
            storage: Storage::of(random, is_eager),
            buffer_events: random.one_of(&[0, 131_072]),
            end: match random.below(4) {
                0 => End::Early(random.below(200)),
                1 => End::Dropped(random.below(200)),
                _ => End::Late,
            },
        }
    }

    /// Returns the longest simulated time that the history may take, or `None` if the clock jumps.
    pub(crate) fn time_max(&self) -> Option<Duration> {
        let jumps = |ops: &Vec<Op>| ops.iter().any(|op| matches!(op, Op::Jump(_)));
        let longest = if self.storage.is_quick() { SHORT } else { LONG };
        (!self.writers.iter().any(jumps)).then_some(longest)
    }
}

/// The storage of the logs.
#[derive(Debug)]
pub(crate) enum Storage {
    Memory,
    Own(Script),
    /// Two logs share one store.
    Shared([Script; 2]),
}

impl Storage {
    fn of(random: &mut Random, is_eager: bool) -> Self {
        let own = |random: &mut Random| Script {
            // If time may pass while tasks could run, a page that waits for other tasks may arrive
            // after its time limit.
            reads_wait: !is_eager,
            append_timeout: Some(PATIENCE),
            ..script(random, &FAULTS)
        };
        match random.below(6) {
            0 => Self::Memory,
            1 | 2 => {
                // `None` is what `EventStore::append_timeout` returns by default.
                let timeout = |random: &mut Random| random.one_of(&[None, Some(PATIENCE)]);
                let keeps = keeps(random);
                Self::Shared([(); 2].map(|()| Script {
                    append_timeout: timeout(random),
                    keeps,
                    ..script(random, &SHARED_FAULTS)
                }))
            }
            _ => Self::Own(own(random)),
        }
    }

    /// Returns whether the store is shared and its appends have a time-out.
    pub(crate) fn may_be_late(&self) -> bool {
        matches!(self, Self::Shared(scripts) if scripts.iter().any(|script| script.append_timeout.is_some()))
    }

    /// Returns the witnesses of the stores, and whether all their appends succeed.
    pub(crate) fn witnesses(&self) -> (Vec<Arc<Witness>>, bool) {
        let scripts: &[Script] = match self {
            Self::Memory => &[],
            Self::Own(script) => std::slice::from_ref(script),
            Self::Shared(scripts) => scripts,
        };
        let witnesses = scripts.iter().map(|script| Arc::clone(&script.witness));
        let appends = scripts.iter().all(|script| script.stretches.is_empty());
        (witnesses.collect(), appends)
    }

    /// Returns whether the store is shared and its reads fail at times.
    pub(crate) fn is_unreadable_shared(&self) -> bool {
        matches!(self, Self::Shared(scripts) if scripts.iter().any(|script| script.reads_fail))
    }

    /// Returns whether each log has a store of its own that never fails.
    fn is_quick(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Own(script) => script.works(),
            Self::Shared(_) => false,
        }
    }
}

fn ops(random: &mut Random, jumps: bool) -> Vec<Op> {
    let classes = [RecordClass::Start, RecordClass::End, RecordClass::Other];
    if random.once_in(12) {
        // More events than the smallest buffer holds, without any wait.
        return (0..300)
            .map(|_| Op::Push(random.one_of(&classes), Mood::Event))
            .collect();
    }
    let op = |random: &mut Random| match random.below(40) {
        0 => Op::Flush,
        1 | 2 => Op::Dispatch,
        3 | 4 => Op::Sleep(Duration::from_micros(random.below(5000) as u64)),
        5 if jumps => Op::Jump(Duration::from_secs(random.below(100_000) as u64)),
        6 => Op::Push(RecordClass::Other, Mood::Panic),
        7 => Op::Push(RecordClass::Internal, Mood::Nothing),
        8 => Op::Push(RecordClass::Other, Mood::Nothing),
        _ => Op::Push(random.one_of(&classes), Mood::Event),
    };
    (0..=random.below(25)).map(|_| op(random)).collect()
}

const FAULTS: [Fault; 6] = [
    Fault::Refuses,
    Fault::Refuses,
    Fault::Panics,
    Fault::IsLate,
    Fault::IsLateAndRefuses,
    Fault::EndsTheLog,
];
const SHARED_FAULTS: [Fault; 6] = [
    Fault::Refuses,
    Fault::KeepsUnacknowledged,
    Fault::Panics,
    Fault::IsLate,
    Fault::IsLate,
    Fault::IsLateAndRefuses,
];

/// Returns the number of events that a store keeps; `None` means all.
fn keeps(random: &mut Random) -> Option<usize> {
    random.one_of(&[None, None, Some(4), Some(20)])
}

fn script(random: &mut Random, faults: &[Fault]) -> Script {
    let stretches = if random.once_in(3) {
        0
    } else {
        1 + random.below(4)
    };
    let stretches = (0..stretches).flat_map(|_| {
        let working = (1 + random.below(6), None);
        let failing = (1 + random.below(3), Some(random.one_of(faults)));
        [failing, working]
    });
    Script {
        stretches: stretches.collect(),
        reads_fail: random.once_in(4),
        reads_wait: false,
        append_timeout: None,
        keeps: keeps(random),
        random: random.split(),
        witness: Arc::default(),
    }
}

impl ReaderPlan {
    pub(crate) fn of(random: &mut Random) -> Self {
        let streams = match random.below(4) {
            0 => vec![key(0)],
            1 => vec![key(1), key(2)],
            _ => Vec::new(),
        };
        Self {
            streams,
            from: random.one_of(&[ResumePoint::Oldest, ResumePoint::Oldest, ResumePoint::Live]),
            cut: random.one_of(&[0, 1, 3, 20]),
        }
    }
}

fn key(stream: usize) -> StreamKey {
    StreamKey::new(STREAMS[stream]).unwrap()
}

/// Returns the stream of a record. Every fourth record belongs to every stream.
pub(crate) fn stream_of(number: u64) -> Option<StreamKey> {
    let stream = usize::try_from(number % 4).unwrap();
    (stream < STREAMS.len()).then(|| key(stream))
}
