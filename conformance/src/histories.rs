//! Random histories, compared with the naive model after every step; the one that is told of a failure is short.

use livespan::{
    Retention,
    store::{PageLimit, Pinning, StoredEvent, StreamKey},
};

use crate::{
    context::Stage,
    handle::{ANY, Handle},
    location::Place,
    model::{Model, Scope, same_abandoned},
    random::Random,
    report::{Broken, Outcome, Trail, holds, same},
    test_event::{Draft, stream},
};

/// Histories that are tried in search of a shorter one that fails.
const SHORTER_TRIES_MAX: usize = 200;
const STEPS_MAX: usize = 40;
const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// One step; each stands for itself, so that a history without it is a history, too.
#[derive(Clone, Debug)]
enum Step {
    Append(Side, Vec<Draft>),
    LeaveOut(u64),
    Read {
        scope: Scope,
        /// Where in the log, in thousandths.
        place: u64,
        limit: PageLimit,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    One,
    /// A second handle, where there can be one.
    Other,
}

#[derive(Clone, Debug)]
struct History {
    retention: Retention,
    steps: Vec<Step>,
}

pub(crate) fn agrees_with_the_model(stage: &Stage<'_>) -> Outcome {
    let mut random = stage.random();
    for number in 0..stage.histories() {
        let history = draw(&mut random);
        if let Err(broken) = play(stage, &history) {
            let (shortest, broken) = shorten(stage, history, broken);
            stage.trail().note(format!(
                "history {number} fails, and so does this part of it: {} steps, {:?}",
                shortest.steps.len(),
                shortest.retention
            ));
            return Err(broken);
        }
    }
    Ok(())
}

fn draw(random: &mut Random) -> History {
    let events = random.pick(&[1, 3, 10, 30, usize::MAX], usize::MAX);
    let bytes = random.pick(&[1000, 100_000, usize::MAX, usize::MAX], usize::MAX);
    let retention = Retention::default().events(events).bytes(bytes);
    let count = 1 + random.index(STEPS_MAX);
    let steps = (0..count).map(|_| step(random)).collect();
    History { retention, steps }
}

fn step(random: &mut Random) -> Step {
    match random.below(20) {
        0 => Step::Reopen,
        1 => Step::LeaveOut(1 + random.below(5)),
        2..10 => {
            let side = if random.once_in(3) {
                Side::Other
            } else {
                Side::One
            };
            let most = if random.once_in(8) { 100 } else { 6 };
            let count = 1 + random.index(most);
            Step::Append(side, (0..count).map(|_| event(random)).collect())
        }
        _ => Step::Read {
            scope: scope(random),
            place: random.below(1001),
            limit: PageLimit {
                events: random.pick(&[1, 2, 5, 256, usize::MAX], 1),
                bytes: random.pick(&[0, 10, 1000, usize::MAX], 1),
            },
        },
    }
}

fn event(random: &mut Random) -> Draft {
    let length = match random.below(20) {
        0 => 0,
        1 => random.index(20_000),
        _ => random.index(40),
    };
    let mut draft =
        Draft::new(random.bytes(length)).named(random.pick(&["started", "ended", "n"], "n"));
    if !random.once_in(5) {
        draft = draft.on(any_stream(random));
    }
    let token = random.below(4);
    match random.below(6) {
        0 => draft.opening(token),
        1 => draft.closing(token),
        _ => draft,
    }
}

fn any_stream(random: &mut Random) -> StreamKey {
    stream(random.pick(&STREAMS, "a"))
}

fn scope(random: &mut Random) -> Scope {
    if random.once_in(2) {
        return Scope::All;
    }
    let mut keys = vec![any_stream(random)];
    for _ in 0..random.below(3) {
        let key = any_stream(random);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Scope::Streams(keys)
}

/// Leaves out steps, many at once and then one by one, as long as what is left still fails.
fn shorten(stage: &Stage<'_>, history: History, broken: Broken) -> (History, Broken) {
    let (mut history, mut broken) = (history, broken);
    let mut tries = 0;
    let mut chunk = history.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < history.steps.len() {
            if tries == SHORTER_TRIES_MAX {
                return (history, broken);
            }
            tries += 1;
            let mut shorter = history.clone();
            let to = (from + chunk).min(shorter.steps.len());
            shorter.steps.drain(from..to);
            match play(stage, &shorter) {
                Ok(()) => from += chunk,
                Err(fails) => (history, broken) = (shorter, fails),
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    (history, broken)
}

/// The state of a history that is played.
struct Run<'a> {
    stage: Stage<'a>,
    place: &'a Place,
    /// Always there, but between the closing of one and the opening of the next.
    handle: Option<Handle>,
    /// The second handle of a store that several append to.
    other: Option<Handle>,
    model: Model,
}

fn play(stage: &Stage<'_>, history: &History) -> Outcome {
    let trail = Trail::default();
    let stage = stage.with_trail(&trail);
    let outcome = stage.place_with(history.retention).and_then(|place| {
        let mut run = Run::begin(stage, &place)?;
        for step in &history.steps {
            run.step(step)?;
        }
        run.read(&Scope::All, 0, ANY)
    });
    outcome.map_err(|broken| broken.after(&trail))
}

impl<'a> Run<'a> {
    fn begin(stage: Stage<'a>, place: &'a Place) -> Outcome<Self> {
        let handle = stage.open(place)?;
        let other = match handle.store.shared_log() {
            Some(_) => Some(stage.open_as(place, "other")?),
            None => None,
        };
        Ok(Self {
            stage,
            place,
            handle: Some(handle),
            other,
            model: Model::default(),
        })
    }

    fn handle(&mut self) -> Outcome<&mut Handle> {
        let gone = || Broken::new("the store can be opened again", "a handle", "none");
        self.handle.as_mut().ok_or_else(gone)
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Append(side, drafts) => self.append(*side, drafts),
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
            // Several writers go at different times; what is then left open has a check of its own.
            Step::Reopen if self.stage.reopens() && self.other.is_none() => self.reopen(),
            Step::LeaveOut(_) | Step::Reopen => Ok(()),
        }
    }

    fn append(&mut self, side: Side, drafts: &[Draft]) -> Outcome {
        let before = self.model.head();
        let writer = match (&mut self.other, side) {
            (Some(other), Side::Other) => Some(other),
            _ => self.handle.as_mut(),
        };
        let first = match writer {
            Some(writer) => writer.put(&mut self.model, drafts)?,
            None => 0,
        };
        holds(
            first > before,
            "numbers never go back",
            format!("more than {before}"),
            first.to_string(),
        )?;
        self.read(&Scope::All, 0, PageLimit { events: 7, ..ANY })
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
        let handle = self.stage.open(self.place)?;
        self.model.abandon();
        same(
            "open() returns the newest sequence ever kept",
            &self.model.head(),
            &handle.head(),
        )?;
        self.handle = Some(handle);
        if !self.stage.skips("hands_out_abandoned_events") {
            self.take_back(&open)?;
        }
        self.read(&Scope::All, 0, ANY)
    }

    /// Closes what was left open, as the log does.
    fn take_back(&mut self, open: &[StoredEvent]) -> Outcome {
        let tended = self.handle()?.recover_open_events()?;
        let mut expected = self.model.abandoned();
        expected.retain(|event| event.key.is_none() || open.contains(event));
        same_abandoned(&expected, &tended)?;
        let closing: Vec<Draft> = tended
            .iter()
            .filter_map(|event| match (event.key, event.pin) {
                (Some(key), Pinning::Open(token)) => {
                    Some(Draft::new("lost").on(key).closing(token))
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
