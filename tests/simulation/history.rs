//! One random history: who does what with a log, on a simulated machine. What was seen is checked when all is over.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin as StdPin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_core::Stream as _;
use shuttle::thread::{self, JoinHandle};

use crate::{
    checks::{Answered, Flushed, Happened, Outcome, Reader, Seen, Told, Verdict},
    clock::{self, Alarm},
    random::Random,
    sse::{
        batch::Batch,
        control::Gap,
        event::{Pin, StreamKey},
        id::{EventId, ResumePoint},
        intake::{Class, Refused},
        log::Log,
        record::Envelope,
        retention::Retention,
        store::{EventStore, MemoryEventStore},
        subscription::{Message, Subscribe, Subscription},
        translate::Translator,
        wait::block_on,
        worker::{Engine, WorkerSettings},
    },
    store::{Fault, Kept, Script, ScriptedStore},
    sync,
};

/// The first byte of a record that the translator of a simulation reads.
const PLAIN: u8 = 1;
const STREAMS: [&str; 3] = ["a", "b", "c"];
const LONG: Duration = Duration::from_secs(600);
/// More than all sleeps of a history whose store works; less than the log sleeps when nobody wakes it.
const SHORT: Duration = Duration::from_secs(3);

/// What a record makes of the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Event,
    Nothing,
    Panic,
}

/// What a task does with the log.
#[derive(Clone, Copy, Debug)]
enum Op {
    Push(Class, Mood),
    /// An event whose id is asked for.
    Dispatch,
    Flush,
    Sleep(Duration),
    /// The machine was asleep.
    Jump(Duration),
}

#[derive(Clone, Debug)]
struct ReaderPlan {
    streams: Vec<StreamKey>,
    from: ResumePoint,
    /// After how many events it is cut, over and over; never, when 0.
    cut: usize,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// When everybody is done.
    Late,
    /// In the midst of it, after so many times that another may go on.
    Early(usize),
    /// The same, by letting go of the log.
    Dropped(usize),
}

#[derive(Debug)]
struct Plan {
    writers: Vec<Vec<Op>>,
    readers: Vec<ReaderPlan>,
    retention: Retention,
    script: Option<Script>,
    buffer_events: usize,
    end: End,
}

impl Plan {
    fn of(random: &mut Random) -> Self {
        let (writers, readers) = (1 + random.below(3), 1 + random.below(3));
        let jumps = random.once_in(4);
        Self {
            writers: (0..writers).map(|_| ops(random, jumps)).collect(),
            readers: (0..readers).map(|_| ReaderPlan::of(random)).collect(),
            retention: Retention::default()
                .events(random.one_of(&[3, 10, 10_000]))
                .age(Duration::from_secs(random.one_of(&[1, 86_400]))),
            script: (!random.once_in(4)).then(|| script(random)),
            buffer_events: random.one_of(&[0, 131_072]),
            end: match random.below(4) {
                0 => End::Early(random.below(200)),
                1 => End::Dropped(random.below(200)),
                _ => End::Late,
            },
        }
    }

    /// How long it may take where time passes only while all sleep; unknown where time jumps.
    fn time_max(&self) -> Option<Duration> {
        let jumps = |ops: &Vec<Op>| ops.iter().any(|op| matches!(op, Op::Jump(_)));
        let works = |script: &Script| script.stretches.is_empty() && !script.reads_fail;
        let longest = if self.script.as_ref().is_none_or(works) {
            SHORT
        } else {
            LONG
        };
        (!self.writers.iter().any(jumps)).then_some(longest)
    }
}

fn ops(random: &mut Random, jumps: bool) -> Vec<Op> {
    let classes = [Class::Start, Class::End, Class::Other];
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
        6 => Op::Push(Class::Other, Mood::Panic),
        7 => Op::Push(Class::Note, Mood::Nothing),
        8 => Op::Push(Class::Other, Mood::Nothing),
        _ => Op::Push(random.one_of(&classes), Mood::Event),
    };
    (0..=random.below(25)).map(|_| op(random)).collect()
}

fn script(random: &mut Random) -> Script {
    let faults = [
        Some(Fault::Refuses),
        Some(Fault::Refuses),
        Some(Fault::Panics),
        Some(Fault::IsLate),
        Some(Fault::IsLateAndRefuses),
        Some(Fault::EndsTheLog),
    ];
    let stretches = if random.once_in(3) {
        0
    } else {
        1 + random.below(4)
    };
    let stretches = (0..stretches).flat_map(|_| {
        let working = (1 + random.below(6), None);
        let failing = (1 + random.below(3), random.one_of(&faults));
        [failing, working]
    });
    Script {
        stretches: stretches.collect(),
        reads_fail: random.once_in(6),
        random: random.split(),
    }
}

impl ReaderPlan {
    fn of(random: &mut Random) -> Self {
        let streams = match random.below(4) {
            0 => vec![key(0)],
            1 => vec![key(1), key(2)],
            _ => Vec::new(),
        };
        Self {
            streams,
            from: random.one_of(&[
                ResumePoint::Retained,
                ResumePoint::Retained,
                ResumePoint::Live,
            ]),
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

pub(crate) fn payload_of(number: u64) -> String {
    format!("record {number}")
}

/// Makes of each record what its mood says.
struct Plain;

impl Translator for Plain {
    fn translate(&mut self, record: &[u8], batch: &mut Batch) {
        let [PLAIN, class, mood, number @ ..] = record else {
            panic!("a record that nobody wrote: {record:?}");
        };
        let number = u64::from_le_bytes(number.try_into().unwrap());
        if *mood == Mood::Nothing as u8 {
            return;
        }
        // Opens and closes what has this number, three records apart.
        let pin = match class {
            0 => Pin::Open(number / 12),
            1 => Pin::Close(number / 12),
            _ => Pin::None,
        };
        batch.push("record", stream_of(number), pin, |out| {
            out.extend_from_slice(payload_of(number).as_bytes());
            assert_ne!(
                *mood,
                Mood::Panic as u8,
                "the translator of a simulation panics"
            );
        });
    }
}

/// What all tasks of a run see, and what they have seen.
struct Run {
    engine: Mutex<Option<Engine>>,
    log: Arc<Log>,
    /// Tells what was before what.
    stamps: AtomicU64,
    numbers: AtomicU64,
    told: Mutex<Vec<Told>>,
    flushed: Mutex<Vec<Flushed>>,
    answered: Mutex<Vec<Answered>>,
    /// How far the readers of everything are.
    places: Mutex<HashMap<usize, u64>>,
}

impl Run {
    fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&self, ops: &[Op]) {
        for op in ops {
            match *op {
                Op::Push(class, mood) => self.push(class, mood),
                Op::Dispatch => self.dispatch(),
                Op::Flush => self.flush(),
                Op::Sleep(time) => sync::thread::park_timeout(time),
                Op::Jump(time) => clock::jump(time),
            }
        }
    }

    fn push(&self, class: Class, mood: Mood) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let began = self.stamp();
        let pushed = self.log.intake.push(class, |room| {
            room.bytes(&[PLAIN, class as u8, mood as u8])?;
            room.bytes(&number.to_le_bytes())
        });
        self.tell(Told {
            number,
            class,
            mood,
            began,
            ended: self.stamp(),
            pushed,
        });
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    /// As `SseTarget::dispatch` does it: waits for room, and then for the id.
    fn dispatch(&self) {
        let intake = &self.log.intake;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (key, payload) = (stream_of(number), payload_of(number));
        let began = self.stamp();
        let mut ticket = intake.ticket();
        let envelope = Envelope {
            ticket: ticket.number,
            name: "record",
            key,
            pin: Pin::None,
            once: false,
        };
        let pushed = block_on(async {
            loop {
                let room = intake.room();
                match intake.try_push(Class::Other, |room| {
                    envelope.write(room, payload.as_bytes())
                }) {
                    Err(Refused::Full) => room.await,
                    settled => return settled,
                }
            }
        });
        let was_taken = pushed.is_ok();
        self.tell(Told {
            number,
            class: Class::Other,
            mood: Mood::Event,
            began,
            ended: self.stamp(),
            pushed,
        });
        if !was_taken {
            return;
        }
        if let Some(id) = block_on(ticket.answer()) {
            let published = self.log.tail.published();
            self.answered.lock().unwrap().push(Answered {
                number,
                id,
                published,
            });
        }
    }

    fn read(&self, number: usize, plan: ReaderPlan) -> Reader {
        let mut seen = Vec::new();
        let mut last: Option<EventId> = None;
        while self.connect(number, &plan, &mut last, &mut seen) {}
        Reader {
            streams: plan.streams,
            seen,
        }
    }

    /// Reads until it is cut; whether it is to come back.
    fn connect(
        &self,
        number: usize,
        plan: &ReaderPlan,
        last: &mut Option<EventId>,
        seen: &mut Vec<Seen>,
    ) -> bool {
        let from = last.map_or(plan.from, ResumePoint::AfterId);
        let streams = plan.streams.iter();
        let options = streams.fold(Subscribe::all(), |options, key| options.stream(*key));
        let mut subscription = Subscription::new(options.resume(from).reader(&self.log));
        seen.push(Seen::Begins {
            from,
            oldest: self.log.oldest(),
            head: self.log.tail.published(),
        });
        let mut left = plan.cut;
        loop {
            let message = block_on(poll_fn(|cx| StdPin::new(&mut subscription).poll_next(cx)));
            match message.unwrap() {
                Message::Event(event) => {
                    *last = Some(event.id);
                    self.arrive(number, plan, event.id);
                    seen.push(Seen::Event(event));
                    left = left.saturating_sub(1);
                }
                Message::Gap(gap) => {
                    if let Gap::Evicted { to, .. } = gap {
                        self.arrive(number, plan, to);
                    }
                    seen.push(Seen::Gap(gap));
                }
                Message::Degraded => seen.push(Seen::Degraded),
                Message::End(_) => return false,
            }
            if plan.cut > 0 && left == 0 {
                return true;
            }
        }
    }

    fn arrive(&self, number: usize, plan: &ReaderPlan, place: EventId) {
        if plan.streams.is_empty() {
            let mut places = self.places.lock().unwrap();
            let reached = places.entry(number).or_default();
            *reached = place.sequence().get().max(*reached);
        }
    }

    /// Who reads everything has read it, when all are idle: nobody waits for what comes next to learn of what is there.
    fn check_idle(&self) {
        let alarm = Alarm::set(Duration::from_millis(500));
        while !alarm.is_over() {
            thread::park();
        }
        let head = self.log.tail.published();
        for (number, place) in &*self.places.lock().unwrap() {
            assert!(
                *place == head,
                "reader {number} sleeps at {place} of {head}"
            );
        }
    }

    fn flush(&self) {
        let began = self.stamp();
        if self.log.intake.flush(LONG).is_ok() {
            let published = self.log.tail.published();
            self.flushed
                .lock()
                .unwrap()
                .push(Flushed { began, published });
        }
    }
}

fn start(plan: &mut Plan) -> (Engine, Option<Kept>) {
    let (store, kept): (Arc<dyn EventStore>, _) = match plan.script.take() {
        Some(script) => {
            let (store, kept) = ScriptedStore::new(script, plan.retention);
            (Arc::new(store), Some(kept))
        }
        None => (
            Arc::new(MemoryEventStore::with_retention(plan.retention)),
            None,
        ),
    };
    let settings = WorkerSettings {
        buffer_bytes: 0,
        buffer_events: plan.buffer_events,
        ..WorkerSettings::default()
    };
    (Engine::start(store, settings, |_| Plain).unwrap(), kept)
}

/// Plays the history of this seed, and tells it if asked; it panics where a promise is broken.
pub(crate) fn play(seed: u64, is_eager: bool, tells: bool) -> Happened {
    let mut random = Random::new(!seed);
    let clock = clock::start(random.split());
    let begun = clock::now();
    let mut plan = Plan::of(&mut random);
    let time_max = plan.time_max().filter(|_| !is_eager);
    let (engine, kept) = start(&mut plan);
    let run = Arc::new(Run {
        log: Arc::clone(&engine.log),
        engine: Mutex::new(Some(engine)),
        stamps: AtomicU64::default(),
        numbers: AtomicU64::default(),
        told: Mutex::default(),
        flushed: Mutex::default(),
        answered: Mutex::default(),
        places: Mutex::default(),
    });
    let readers: Vec<JoinHandle<Reader>> = std::mem::take(&mut plan.readers)
        .into_iter()
        .enumerate()
        .map(|(number, plan)| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.read(number, plan))
        })
        .collect();
    let writers: Vec<JoinHandle<()>> = std::mem::take(&mut plan.writers)
        .into_iter()
        .map(|ops| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.write(&ops))
        })
        .collect();
    end(plan.end, &run, writers, !is_eager);
    let readers = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    // What a store was late with ends, too.
    clock::stop();
    clock.join().unwrap();
    let passed = clock::now().saturating_sub(begun);
    let head = run.log.tail.published();
    let verdict = Verdict {
        head,
        dropped: run.log.dropped(),
        broken: run.log.intake.broken(),
        is_degraded: run.log.is_degraded(),
        kept: kept.map(|kept| kept.events()),
    };
    let outcome = Outcome {
        told: std::mem::take(&mut run.told.lock().unwrap()),
        flushed: std::mem::take(&mut run.flushed.lock().unwrap()),
        answered: std::mem::take(&mut run.answered.lock().unwrap()),
        readers,
        verdict,
    };
    if tells {
        println!("{}", outcome.story());
    }
    outcome.check();
    assert!(
        time_max.is_none_or(|longest| passed < longest),
        "it took {passed:?}: somebody was not woken"
    );
    outcome.happened()
}

fn end(end: End, run: &Run, writers: Vec<JoinHandle<()>>, is_patient: bool) {
    let turns = match end {
        End::Late => 0,
        End::Early(turns) | End::Dropped(turns) => turns,
    };
    for _ in 0..turns {
        thread::yield_now();
    }
    let mut writers = Some(writers);
    let mut join = || {
        for writer in writers.take().into_iter().flatten() {
            writer.join().unwrap();
        }
    };
    if end == End::Late {
        join();
        if is_patient && run.log.intake.flush(LONG).is_ok() {
            run.check_idle();
        }
    }
    let engine = run.engine.lock().unwrap().take().unwrap();
    if !matches!(end, End::Dropped(_)) {
        // Time may pass faster than the log can follow.
        while engine.shutdown(LONG).is_err_and(|error| error.is_timeout()) {}
    }
    drop(engine);
    join();
    // Who lets go of a log does not wait for it.
    while run
        .log
        .intake
        .wait_finished(LONG)
        .is_err_and(|error| error.is_timeout())
    {}
}
