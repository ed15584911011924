//! What is to happen in a history: who does what, how the store fares, and how it ends. A seed decides.

use std::{sync::Arc, time::Duration};

use crate::{
    ingest::buffer::RecordClass,
    log::{event::StreamKey, retention::Retention},
    random::Random,
    scripted_store::{Fault, PATIENCE, Script, Witness},
    wire::id::ResumePoint,
};

pub(crate) const LONG: Duration = Duration::from_secs(600);
/// More than all sleeps of a history whose store works; less than the log sleeps when nobody wakes it. A shared store is
/// asked every second, so it hides that nobody did.
const SHORT: Duration = Duration::from_secs(3);
const STREAMS: [&str; 3] = ["a", "b", "c"];

/// What a record makes of the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Event,
    Nothing,
    Panic,
}

/// What a task does with the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Push(RecordClass, Mood),
    /// An event whose id is asked for.
    Dispatch,
    Flush,
    Sleep(Duration),
    /// The machine was asleep.
    Jump(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct ReaderPlan {
    pub(crate) streams: Vec<StreamKey>,
    pub(crate) from: ResumePoint,
    /// After how many events it is cut, over and over; never, when 0.
    pub(crate) cut: usize,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// When everybody is done.
    Late,
    /// In the midst of it, after so many times that another may go on.
    Early(usize),
    /// The same, by letting go of the log.
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

    /// How long it may take where time passes only while all sleep; unknown where time jumps.
    pub(crate) fn time_max(&self) -> Option<Duration> {
        let jumps = |ops: &Vec<Op>| ops.iter().any(|op| matches!(op, Op::Jump(_)));
        let longest = if self.storage.is_quick() { SHORT } else { LONG };
        (!self.writers.iter().any(jumps)).then_some(longest)
    }
}

/// What the log is kept in.
#[derive(Debug)]
pub(crate) enum Storage {
    Memory,
    Own(Script),
    /// Two logs have it.
    Shared([Script; 2]),
}

impl Storage {
    fn of(random: &mut Random, is_eager: bool) -> Self {
        let own = |random: &mut Random| Script {
            // Where time passes while all could go on, a page that comes late may come too late.
            reads_wait: !is_eager,
            append_timeout: Some(PATIENCE),
            ..script(random, &FAULTS)
        };
        match random.below(6) {
            0 => Self::Memory,
            1 | 2 => {
                // What the trait does where a store does not say, too.
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

    /// Whether it is a shared one whose appends have a time-out.
    pub(crate) fn may_be_late(&self) -> bool {
        matches!(self, Self::Shared(scripts) if scripts.iter().any(|script| script.append_timeout.is_some()))
    }

    /// What its stores do beside what readers see, and whether all their appends succeed.
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

    /// Whether it is a shared one that cannot be read now and then.
    pub(crate) fn is_unreadable_shared(&self) -> bool {
        matches!(self, Self::Shared(scripts) if scripts.iter().any(|script| script.reads_fail))
    }

    /// Whether no log waits for it.
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
        // More than the smallest buffer takes, and nothing that waits.
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
    Fault::KeepsUnheard,
    Fault::Panics,
    Fault::IsLate,
    Fault::IsLate,
    Fault::IsLateAndRefuses,
];

/// How many events a store keeps.
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

/// The stream of a record: every fourth belongs to all.
pub(crate) fn stream_of(number: u64) -> Option<StreamKey> {
    let stream = usize::try_from(number % 4).unwrap();
    (stream < STREAMS.len()).then(|| key(stream))
}
