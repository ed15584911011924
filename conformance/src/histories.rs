//! Random histories of appends, reads and reopenings, compared with the naive model. A history that fails is shortened
//! before it is reported. The seed alone decides the histories.

use fastrand::Rng;
use livespan::{
    Retention,
    store::{PageLimit, Pinning, StoredEvent, StreamKey},
};

use crate::{
    context::CheckContext,
    handle::{ANY, Handle},
    location::StoreLocation,
    model::{Model, Scope, same_abandoned},
    report::{Outcome, StepLog, Violation, holds, same},
    test_event::{TestEvent, random_bytes, stream},
};

/// Upper bound on the attempts to find a shorter history that fails.
const SHORTER_TRIES_MAX: usize = 200;
const STEPS_MAX: usize = 40;
const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// One step. No step depends on another, so a history without one of its steps is valid, too.
#[derive(Clone, Debug)]
enum Step {
    Append(Side, Vec<TestEvent>),
    LeaveOut(u64),
    Read {
        scope: Scope,
        /// The position in the log, in thousandths of its length.
        place: u64,
        limit: PageLimit,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    One,
    /// The second handle, if the store allows one.
    Other,
}

#[derive(Clone, Debug)]
struct History {
    retention: Retention,
    steps: Vec<Step>,
}

pub(crate) fn agrees_with_the_model(context: &CheckContext<'_>) -> Outcome {
    let mut random = context.random();
    for number in 0..context.histories() {
        let history = draw(&mut random);
        if let Err(violation) = play(context, &history) {
            let (shortest, violation) = shorten(context, history, violation);
            context.step_log().note(format!(
                "history {number} fails, and so does this part of it: {} steps, {:?}",
                shortest.steps.len(),
                shortest.retention
            ));
            return Err(violation);
        }
    }
    Ok(())
}

fn draw(random: &mut Rng) -> History {
    let events = random
        .choice([1, 3, 10, 30, usize::MAX])
        .unwrap_or(usize::MAX);
    let bytes = random
        .choice([1000, 100_000, usize::MAX, usize::MAX])
        .unwrap_or(usize::MAX);
    let retention = Retention::default().events(events).bytes(bytes);
    let count = 1 + random.usize(..STEPS_MAX);
    let steps = (0..count).map(|_| step(random)).collect();
    History { retention, steps }
}

fn step(random: &mut Rng) -> Step {
    match random.u64(..20) {
        0 => Step::Reopen,
        1 => Step::LeaveOut(1 + random.u64(..5)),
        2..10 => {
            let side = if random.u64(..3) == 0 {
                Side::Other
            } else {
                Side::One
            };
            let most = if random.u64(..8) == 0 { 100 } else { 6 };
            let count = 1 + random.usize(..most);
            Step::Append(side, (0..count).map(|_| event(random)).collect())
        }
        _ => Step::Read {
            scope: scope(random),
            place: random.u64(..1001),
            limit: PageLimit::default()
                .events(random.choice([1, 2, 5, 256, usize::MAX]).unwrap_or(1))
                .bytes(random.choice([0, 10, 1000, usize::MAX]).unwrap_or(1)),
        },
    }
}

fn event(random: &mut Rng) -> TestEvent {
    let length = match random.u64(..20) {
        0 => 0,
        1 => random.usize(..20_000),
        _ => random.usize(..40),
    };
    let mut test_event = TestEvent::new(random_bytes(random, length))
        .named(random.choice(["started", "ended", "n"]).unwrap_or("n"));
    if random.u64(..5) != 0 {
        test_event = test_event.on(any_stream(random));
    }
    let token = random.u64(..4);
    match random.u64(..7) {
        0 => test_event.opening(token),
        1 => test_event.closing(token),
        2 => test_event.with_state_of(token),
        _ => test_event,
    }
}

fn any_stream(random: &mut Rng) -> StreamKey {
    stream(random.choice(STREAMS).unwrap_or("a"))
}

fn scope(random: &mut Rng) -> Scope {
    if random.u64(..2) == 0 {
        return Scope::All;
    }
    let mut keys = vec![any_stream(random)];
    for _ in 0..random.u64(..3) {
        let key = any_stream(random);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Scope::Streams(keys)
}

/// Removes steps, first many at once and then one by one, while the rest still fails. Stops after `SHORTER_TRIES_MAX`
/// attempts.
fn shorten(
    context: &CheckContext<'_>,
    history: History,
    violation: Violation,
) -> (History, Violation) {
    let (mut history, mut violation) = (history, violation);
    let mut tries = 0;
    let mut chunk = history.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < history.steps.len() {
            if tries == SHORTER_TRIES_MAX {
                return (history, violation);
            }
            tries += 1;
            let mut shorter = history.clone();
            let to = (from + chunk).min(shorter.steps.len());
            shorter.steps.drain(from..to);
            match play(context, &shorter) {
                Ok(()) => from += chunk,
                Err(fails) => (history, violation) = (shorter, fails),
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    (history, violation)
}

/// The state of a history while it runs.
struct Run<'a> {
    context: CheckContext<'a>,
    location: &'a StoreLocation,
    /// `None` while the store is being reopened.
    handle: Option<Handle>,
    /// The second handle, if several logs may append to the store.
    other: Option<Handle>,
    model: Model,
}

fn play(context: &CheckContext<'_>, history: &History) -> Outcome {
    let step_log = StepLog::default();
    let context = context.with_step_log(&step_log);
    let outcome = context
        .location_with(history.retention)
        .and_then(|location| {
            let mut run = Run::begin(context, &location)?;
            for step in &history.steps {
                run.step(step)?;
            }
            run.read(&Scope::All, 0, ANY)
        });
    outcome.map_err(|violation| violation.after(&step_log))
}

impl<'a> Run<'a> {
    fn begin(context: CheckContext<'a>, location: &'a StoreLocation) -> Outcome<Self> {
        let handle = context.open(location)?;
        let other = match handle.store.shared_log() {
            Some(_) => Some(context.open_as(location, "other")?),
            None => None,
        };
        Ok(Self {
            context,
            location,
            handle: Some(handle),
            other,
            model: Model::default(),
        })
    }

    fn handle(&mut self) -> Outcome<&mut Handle> {
        let gone = || Violation::new("the store can be opened again", "a handle", "none");
        self.handle.as_mut().ok_or_else(gone)
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Append(side, test_events) => self.append(*side, test_events),
            Step::LeaveOut(count) if self.other.is_none() => {
                self.handle()?.leave_out(*count);
                Ok(())
            }
            Step::Read {
                scope,
                place,
                limit,
            } => {
                let after = self.model.head() * place / 1000;
                self.read(scope, after, *limit)
            }
            // A store with two handles is not reopened, because its writers may stop at different times. A separate
            // check covers the events that stopped writers leave open.
            Step::Reopen if self.context.reopens() && self.other.is_none() => self.reopen(),
            Step::LeaveOut(_) | Step::Reopen => Ok(()),
        }
    }

    fn append(&mut self, side: Side, test_events: &[TestEvent]) -> Outcome {
        let before = self.model.head();
        let writer = match (&mut self.other, side) {
            (Some(other), Side::Other) => Some(other),
            _ => self.handle.as_mut(),
        };
        let first = match writer {
            Some(writer) => writer.put(&mut self.model, test_events)?,
            None => 0,
        };
        holds(
            first > before,
            "append() returns a sequence after every earlier one",
            format!("more than {before}"),
            first.to_string(),
        )?;
        self.read(&Scope::All, 0, ANY.events(7))
    }

    fn read(&self, scope: &Scope, after: u64, limit: PageLimit) -> Outcome {
        let mut handles = self.handle.iter().chain(&self.other);
        handles.try_for_each(|handle| handle.check(&self.model, scope, after, limit))
    }

    fn reopen(&mut self) -> Outcome {
        let open = self.model.open();
        if let Some(handle) = self.handle.take() {
            handle.close()?;
        }
        let handle = self.context.open(self.location)?;
        self.model.abandon();
        same(
            "open() returns the newest sequence ever kept",
            &self.model.head(),
            &handle.head(),
        )?;
        self.handle = Some(handle);
        if !self.context.skips("hands_out_abandoned_events") {
            self.take_back(&open)?;
        }
        self.read(&Scope::All, 0, ANY)
    }

    /// Checks the abandoned events that the store returns, then appends events that close them, as the log does.
    fn take_back(&mut self, open: &[StoredEvent]) -> Outcome {
        let recovered = self.handle()?.recover_open_events()?;
        let mut expected = self.model.abandoned();
        expected.retain(|event| event.key.is_none() || open.contains(event));
        same_abandoned(&expected, &recovered)?;
        let closing: Vec<TestEvent> = recovered
            .iter()
            .filter_map(|event| match (event.key, event.pin) {
                (Some(key), Pinning::Open(token)) => {
                    Some(TestEvent::new("lost").on(key).closing(token))
                }
                _ => None,
            })
            .collect();
        if closing.is_empty() {
            return Ok(());
        }
        self.append(Side::One, &closing)
    }
}
