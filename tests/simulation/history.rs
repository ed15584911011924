//! One random history on a simulated machine: tasks use one or two logs, and their observations are
//! checked at the end.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_core::Stream as _;
use shuttle::thread::{self, JoinHandle};

use crate::{
    checks::{Answered, Coverage, Flushed, Outcome, Pushed, Reader, Seen, Verdict},
    clock,
    engine::{
        encoder::RecordEncoder,
        log::Log,
        worker::{LogRuntime, WorkerSettings},
    },
    ingest::{
        buffer::{Ack, PushError, RecordClass},
        envelope::Envelope,
        write_buf::WriteBuf,
    },
    log::{batch::Batch, event::Pinning},
    plan::{End, LONG, Mood, Op, Plan, ReaderPlan, Storage, stream_of},
    random::Random,
    reader::subscription::{Message, Subscribe, Subscription},
    scripted_store::{Kept, ScriptedStore, Witness, sleep},
    shared::{Heal, shared},
    store::{MemoryEventStore, kind::StoreKind},
    util::{block_on::block_on, sync},
    wire::{
        control::Gap,
        id::{EventId, ResumePoint},
    },
};

/// The first byte of a record that the simulation's encoder reads.
const PLAIN: u8 = 1;

/// Returns the payload of a record's event, which contains its number.
fn payload_of(number: u64) -> String {
    format!("record {number}")
}

/// Returns the number of the record from which the event was made, or `None` for an event of the log
/// itself.
pub(crate) fn number_of(name: &str, payload: &[u8]) -> Option<u64> {
    let payload = std::str::from_utf8(payload).ok()?;
    let number = payload
        .strip_prefix("record ")
        .filter(|_| name == "record")?;
    number.parse().ok()
}

/// An encoder. A record's [`Mood`] decides whether it makes an event of the record, ignores it or panics.
struct Plain;

impl RecordEncoder for Plain {
    fn encode(&mut self, record: &[u8], batch: &mut Batch) {
        let [PLAIN, class, mood, number @ ..] = record else {
            panic!("no task wrote this record: {record:?}");
        };
        let number = u64::from_le_bytes(number.try_into().unwrap());
        if *mood == Mood::Nothing as u8 {
            return;
        }
        // Starts open and ends close a token. Twelve records share a token.
        let pin = match class {
            0 => Pinning::Open(number / 12),
            1 => Pinning::Close(number / 12),
            _ => Pinning::None,
        };
        batch.push("record", stream_of(number), pin, |out| {
            out.extend_from_slice(payload_of(number).as_bytes());
            assert_ne!(
                *mood,
                Mood::Panic as u8,
                "the encoder of a simulation panics"
            );
        });
    }
}

/// The state that all tasks of a run share, and their observations. Its locks are the standard
/// library's, so no other task may run while one is held.
struct Run {
    sites: Vec<Site>,
    /// Makes a shared store work from now on.
    heal: Option<Heal>,
    /// The next stamp. Stamps order the observations.
    stamps: AtomicU64,
    numbers: AtomicU64,
    pushes: Mutex<Vec<Pushed>>,
    flushed: Mutex<Vec<Flushed>>,
    answered: Mutex<Vec<Answered>>,
}

/// One log and its readers.
struct Site {
    log: Arc<Log>,
    kept: Option<Kept>,
    runtime: Mutex<Option<LogRuntime>>,
    /// The positions of the readers of all streams.
    places: Mutex<HashMap<usize, u64>>,
}

impl Site {
    fn new(runtime: LogRuntime, kept: Option<&Kept>) -> Self {
        Self {
            log: Arc::clone(&runtime.log),
            kept: kept.cloned(),
            runtime: Mutex::new(Some(runtime)),
            places: Mutex::default(),
        }
    }

    /// Returns the newest event that a reader may see.
    fn head(&self) -> u64 {
        match &self.kept {
            Some(kept) if self.log.is_shared() => kept().len() as u64,
            _ => self.log.tail.published(),
        }
    }

    fn arrive(&self, reader: usize, plan: &ReaderPlan, place: u64) {
        if plan.streams.is_empty() {
            let mut places = self.places.lock().unwrap();
            let reached = places.entry(reader).or_default();
            *reached = place.max(*reached);
        }
    }

    /// Reads until the connection is cut. Returns whether the reader reconnects.
    fn connect(
        &self,
        reader: usize,
        plan: &ReaderPlan,
        last: &mut Option<EventId>,
        seen: &mut Vec<Seen>,
    ) -> bool {
        let from = last.map_or(plan.from, ResumePoint::AfterId);
        let streams = plan.streams.iter();
        let options = streams.fold(Subscribe::all(), |options, key| options.stream(*key));
        let mut subscription = Subscription::new(options.resume(from).reader(&self.log));
        let begins = |head| Seen::Begins {
            from,
            oldest: self.log.oldest(),
            head,
        };
        let place = seen.len();
        let mut head = self.head();
        seen.push(begins(head));
        // The reader need not get earlier events.
        match from {
            ResumePoint::Oldest => self.arrive(reader, plan, self.log.oldest() - 1),
            ResumePoint::Live => self.arrive(reader, plan, self.head()),
            _ => {}
        }
        let mut left = plan.cut;
        loop {
            let message = block_on(poll_fn(|cx| Pin::new(&mut subscription).poll_next(cx)));
            if seen.len() == place + 1 {
                // The reader may first have asked its store for the position at which it begins.
                if self.log.is_shared() {
                    head = self.head();
                }
                seen[place] = begins(head);
            }
            match message.unwrap() {
                Message::Event(event) => {
                    *last = Some(event.id);
                    self.arrive(reader, plan, event.id.sequence().get());
                    seen.push(Seen::Event(event));
                    left = left.saturating_sub(1);
                }
                Message::Gap(gap) => {
                    if let Gap::Evicted { to, .. } = gap {
                        self.arrive(reader, plan, to.sequence().get());
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

    /// Shuts the log down, or drops it.
    fn end(&self, end: End) {
        let runtime = self.runtime.lock().unwrap().take().unwrap();
        if !matches!(end, End::Dropped(_)) {
            // Simulated time may pass faster than the log works. If the shutdown times out, it is
            // repeated.
            while runtime
                .shutdown(LONG)
                .is_err_and(|error| error.is_timeout())
            {}
        }
        drop(runtime);
    }
}

impl Run {
    fn new(sites: Vec<Site>, heal: Option<Heal>) -> Arc<Self> {
        Arc::new(Self {
            sites,
            heal,
            stamps: AtomicU64::default(),
            numbers: AtomicU64::default(),
            pushes: Mutex::default(),
            flushed: Mutex::default(),
            answered: Mutex::default(),
        })
    }

    fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed)
    }

    fn log(&self, site: usize) -> &Arc<Log> {
        &self.sites[site].log
    }

    fn write(&self, site: usize, ops: &[Op]) {
        for op in ops {
            match *op {
                Op::Push(class, mood) => self.push(site, class, mood),
                Op::Dispatch => self.dispatch(site),
                Op::Flush => drop(self.flush(site)),
                Op::Sleep(time) => sync::thread::park_timeout(time),
                Op::Jump(time) => clock::jump(time),
            }
        }
    }

    fn push(&self, site: usize, class: RecordClass, mood: Mood) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let began = self.stamp();
        let outcome = self.log(site).buffer.push(class, |buf| {
            buf.put_slice(&[PLAIN, class as u8, mood as u8])?;
            buf.put_slice(&number.to_le_bytes())
        });
        self.record_push(Pushed {
            site,
            number,
            class,
            mood,
            began,
            ended: self.stamp(),
            outcome,
        });
    }

    fn record_push(&self, push: Pushed) {
        self.pushes.lock().unwrap().push(push);
    }

    /// Dispatches like `SseTarget::dispatch`: waits for space, and then for the id.
    fn dispatch(&self, site: usize) {
        let log = self.log(site);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (key, payload) = (stream_of(number), payload_of(number));
        let began = self.stamp();
        let mut ack = log.buffer.pending_ack();
        let envelope = Envelope {
            ack: ack.number,
            name: "record",
            key,
            pin: Pinning::None,
            once: false,
        };
        let write = |buf: &mut WriteBuf<'_>| envelope.write(buf, payload.as_bytes());
        let outcome = block_on(async {
            loop {
                let room = log.buffer.room_freed();
                match log.buffer.try_push(RecordClass::Other, write) {
                    Err(PushError::Full) => room.await,
                    settled => return settled,
                }
            }
        });
        let was_taken = outcome.is_ok();
        self.record_push(Pushed {
            site,
            number,
            class: RecordClass::Other,
            mood: Mood::Event,
            began,
            ended: self.stamp(),
            outcome,
        });
        if !was_taken {
            return;
        }
        if let Some(Ack::Stored(id)) = block_on(ack.recv()) {
            let answered = Answered {
                number,
                id,
                published: log.tail.published(),
            };
            self.answered.lock().unwrap().push(answered);
        }
    }

    fn read(&self, site: usize, reader: usize, plan: ReaderPlan) -> Reader {
        let mut seen = Vec::new();
        let mut last: Option<EventId> = None;
        while self.sites[site].connect(reader, &plan, &mut last, &mut seen) {}
        Reader {
            site,
            streams: plan.streams,
            seen,
        }
    }

    /// Flushes the log. Returns whether every earlier record is stored.
    fn flush(&self, site: usize) -> bool {
        let began = self.stamp();
        let is_kept = self.log(site).buffer.flush(LONG).is_ok();
        if is_kept {
            let flushed = Flushed {
                site,
                began,
                published: self.log(site).tail.published(),
            };
            self.flushed.lock().unwrap().push(flushed);
        }
        is_kept
    }

    /// Checks that each reader of all streams has reached the head once all tasks are idle. No
    /// reader may need a further event in order to find earlier ones.
    fn check_idle(&self) {
        // The followers of a shared store read it at long intervals.
        let time = if self.heal.is_some() { 20_000 } else { 500 };
        sleep(Duration::from_millis(time));
        let head = self.sites[0].head();
        for site in &self.sites {
            for (reader, place) in &*site.places.lock().unwrap() {
                assert!(
                    *place == head,
                    "reader {reader} sleeps at {place} of {head}"
                );
            }
        }
    }

    /// Ends the logs at the planned time. Returns whether the idle readers were checked before.
    fn end(&self, end: End, writers: Vec<JoinHandle<()>>, may_be_idle: bool) -> bool {
        let turns = match end {
            End::Late => 0,
            End::Early(turns) | End::Dropped(turns) => turns,
        };
        for _ in 0..turns {
            thread::yield_now();
        }
        let mut was_idle = false;
        let mut writers = Some(writers);
        let mut join = || {
            for writer in writers.take().into_iter().flatten() {
                writer.join().unwrap();
            }
        };
        if end == End::Late {
            join();
            if let Some(heal) = &self.heal {
                heal();
            }
            if may_be_idle && (0..self.sites.len()).all(|site| self.flush(site)) {
                self.check_idle();
                was_idle = true;
            }
        }
        for site in &self.sites {
            site.end(end);
        }
        join();
        for site in &self.sites {
            // A log that was dropped ends in the background.
            let over = || site.log.buffer.wait_finished(LONG);
            while over().is_err_and(|error| error.is_timeout()) {}
        }
        was_idle
    }

    fn verdict(&self, kept: Option<Kept>, end: End, known: &Known) -> Verdict {
        let mut dropped = [0; 3];
        for site in &self.sites {
            let counted = site.log.dropped();
            for (sum, count) in
                dropped
                    .iter_mut()
                    .zip([counted.starts, counted.ends, counted.other])
            {
                *sum += count;
            }
        }
        Verdict {
            heads: self
                .sites
                .iter()
                .map(|site| site.log.tail.published())
                .collect(),
            dropped,
            broken: self
                .sites
                .iter()
                .find_map(|site| site.log.buffer.abort_reason()),
            is_degraded: self.sites.iter().any(|site| site.log.is_degraded()),
            ends_early: end != End::Late,
            is_behind: known.is_behind,
            was_idle: known.was_idle,
            has_one_writer_that_works: known.has_one_writer_that_works,
            may_be_late: known.may_be_late,
            witnessed: [
                known.witnessed(|witness| &witness.is_late),
                known.witnessed(|witness| &witness.has_failed_read),
                known.witnessed(|witness| &witness.has_evicted),
            ],
            kept: kept.map(|kept| kept()),
        }
    }
}

/// Facts about a history that its logs cannot provide at their end.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Known {
    is_behind: bool,
    was_idle: bool,
    has_one_writer_that_works: bool,
    may_be_late: bool,
    witnesses: Vec<Arc<Witness>>,
}

impl Known {
    fn witnessed(&self, what: impl Fn(&Witness) -> &AtomicBool) -> bool {
        self.witnesses
            .iter()
            .any(|witness| what(witness).load(Ordering::Relaxed))
    }
}

fn start(plan: &mut Plan) -> (Arc<Run>, Option<Kept>) {
    let (stores, kept, heal): (Vec<StoreKind>, Option<Kept>, Option<Heal>) =
        match std::mem::replace(&mut plan.storage, Storage::Memory) {
            Storage::Memory => {
                let store = MemoryEventStore::with_retention(plan.retention);
                (vec![StoreKind::new(store)], None, None)
            }
            Storage::Own(script) => {
                let (store, kept) = ScriptedStore::new(script, plan.retention);
                (vec![StoreKind::new(store)], Some(kept), None)
            }
            Storage::Shared(scripts) => {
                let ([one, other], kept, heal) = shared(scripts, plan.retention);
                (
                    vec![StoreKind::new(one), StoreKind::new(other)],
                    Some(kept),
                    Some(heal),
                )
            }
        };
    let settings = || WorkerSettings {
        buffer_bytes: 0,
        buffer_events: plan.buffer_events,
        ..WorkerSettings::default()
    };
    let engines = stores
        .into_iter()
        .map(|store| LogRuntime::start(store, settings(), |_| Plain).unwrap());
    let sites = engines.map(|runtime| Site::new(runtime, kept.as_ref()));
    (Run::new(sites.collect(), heal), kept)
}

/// Plays the history of this seed. Prints it if `is_verbose` is set. Panics if a promise is broken.
pub(crate) fn play(seed: u64, is_eager: bool, is_verbose: bool) -> Coverage {
    let mut random = Random::new(!seed);
    let clock = clock::start(random.split());
    let begun = clock::now();
    let mut plan = Plan::of(&mut random, is_eager);
    let time_max = plan.time_max().filter(|_| !is_eager);
    let is_behind = plan.storage.is_unreadable_shared();
    let may_be_late = plan.storage.may_be_late();
    let (witnesses, appends) = plan.storage.witnesses();
    // If time passes faster than the log can follow, even a working append may be late.
    let has_one_writer_that_works = appends && witnesses.len() == 1 && time_max.is_some();
    let (run, kept) = start(&mut plan);
    let site_of = |number: usize| number % run.sites.len();
    let readers: Vec<JoinHandle<Reader>> = plan
        .readers
        .into_iter()
        .enumerate()
        .map(|(number, plan)| {
            let (run, site) = (Arc::clone(&run), site_of(number));
            thread::spawn(move || run.read(site, number, plan))
        })
        .collect();
    let writers: Vec<JoinHandle<()>> = plan
        .writers
        .into_iter()
        .enumerate()
        .map(|(number, ops)| {
            let (run, site) = (Arc::clone(&run), site_of(number));
            thread::spawn(move || run.write(site, &ops))
        })
        .collect();
    let was_idle = run.end(plan.end, writers, !is_eager);
    let readers = readers.into_iter().map(|reader| reader.join().unwrap());
    let readers = readers.collect();
    // The stores' late appends end, too.
    clock::stop();
    clock.join().unwrap();
    let passed = clock::now().saturating_sub(begun);
    let known = Known {
        is_behind,
        was_idle,
        has_one_writer_that_works,
        may_be_late,
        witnesses,
    };
    let outcome = Outcome {
        pushes: std::mem::take(&mut run.pushes.lock().unwrap()),
        flushed: std::mem::take(&mut run.flushed.lock().unwrap()),
        answered: std::mem::take(&mut run.answered.lock().unwrap()),
        readers,
        verdict: run.verdict(kept, plan.end, &known),
    };
    if is_verbose {
        println!("{}", outcome.transcript());
    }
    outcome.check();
    assert!(
        time_max.is_none_or(|longest| passed < longest),
        "the history took {passed:?}: a task was not woken"
    );
    outcome.coverage()
}
