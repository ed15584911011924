//! What outlives a handle: events, numbers, lives, and what was left open.

use std::collections::HashSet;

use crate::{
    log::retention::Retention,
    store::{Life, PageLimit},
    testing::{
        draft::{Draft, mixed, stream},
        failure::{self, Outcome, holds, same},
        handle::{ANY, Handle, streams},
        model::{Model, Scope, same_abandoned},
        stage::Stage,
    },
    wire::id::Epoch,
};

pub(crate) fn survives_reopening(stage: &Stage<'_>) -> Outcome {
    for events in [usize::MAX, 20] {
        let place = stage.place_with(Retention::default().events(events))?;
        let mut model = Model::default();
        for size in [0, 1, 40, 3, 0, 300] {
            let mut handle = stage.open(&place)?;
            check_reopened(&handle, &model)?;
            if size > 0 {
                let first = model.head() + 1;
                let given = handle.put(&mut model, &mixed(1..=size))?;
                same("numbers go on where they were", &first, &given)?;
                check_reopened(&handle, &model)?;
            }
            handle.close()?;
        }
        check_reopened(&stage.open(&place)?, &model)?;
    }
    Ok(())
}

fn check_reopened(handle: &Handle, model: &Model) -> Outcome {
    same(
        "open() returns the newest sequence ever kept",
        &model.head(),
        &handle.head(),
    )?;
    let oldest = handle.oldest();
    holds(
        (1..=model.head() + 1).contains(&oldest),
        "oldest() is a kept event or the next number",
        format!("1 to {}", model.head() + 1),
        oldest.to_string(),
    )?;
    holds(
        oldest <= model.head() || model.head() == 0,
        "reopening lets go of no newest event",
        format!("at most {}", model.head()),
        oldest.to_string(),
    )?;
    for scope in [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
    ] {
        for after in [0, oldest - 1, oldest, model.head()] {
            for events in [3, usize::MAX] {
                handle.check(model, &scope, after, PageLimit { events, ..ANY })?;
            }
        }
    }
    Ok(())
}

pub(crate) fn tells_lives_apart(stage: &Stage<'_>) -> Outcome {
    let place = stage.place()?;
    let mut known: Vec<Life> = Vec::new();
    let mut epochs: HashSet<Epoch> = HashSet::new();
    let mut model = Model::default();
    for round in 0..6_u64 {
        let mut handle = stage.open(&place)?;
        let lives = handle.lives();
        check_lives(&lives, &known, &model)?;
        let new = lives
            .iter()
            .find(|life| !known.contains(life) && epochs.contains(&life.epoch));
        same(
            "a new life has an epoch that was never there before",
            &None,
            &new,
        )?;
        epochs.extend(lives.iter().map(|life| life.epoch));
        if round % 3 != 1 {
            let first = handle.put(&mut model, &mixed(1..=5))?;
            let begun = lives.last().map_or(0, |life| life.first.get());
            holds(
                first >= begun,
                "the current life's first number is the first that was given in it",
                format!("at most {first}"),
                begun.to_string(),
            )?;
        }
        same(
            "lives stay the same while a log is open",
            &lives.to_vec(),
            &handle.lives().to_vec(),
        )?;
        known = lives.to_vec();
        handle.close()?;
    }
    Ok(())
}

/// Compares the lives of a log that was just opened with those that were known when it was closed.
fn check_lives(lives: &[Life], known: &[Life], model: &Model) -> Outcome {
    let show = || format!("{lives:?}");
    holds(
        lives.is_sorted_by(|one, other| one.first <= other.first),
        "lives are listed oldest first",
        "ascending first numbers",
        show(),
    )?;
    let mut epochs: Vec<&str> = lives.iter().map(|life| life.epoch.as_str()).collect();
    epochs.sort_unstable();
    holds(
        epochs.is_sorted_by(|one, other| one < other),
        "every life has an epoch of its own",
        "distinct epochs",
        show(),
    )?;
    let goes_on = lives.len() == known.len();
    let next = model.head() + 1;
    let begun = lives.last().map_or(0, |life| life.first.get());
    holds(
        goes_on || begun == next,
        "a new life begins with the next number",
        next.to_string(),
        begun.to_string(),
    )?;
    // A life in which nothing was given needs not be told apart.
    let empty = |at: usize| {
        let next_first = known.get(at + 1).map_or(next, |life| life.first.get());
        known
            .get(at)
            .is_none_or(|life| life.first.get() >= next_first)
    };
    let lost = known
        .iter()
        .enumerate()
        .find(|(at, life)| !empty(*at) && !lives.contains(life));
    same(
        format!(
            "lives in which events were numbered are still told apart, as none of {known:?} is gone from retention"
        ),
        &None,
        &lost.map(|(_, life)| life),
    )
}

pub(crate) fn hands_out_abandoned_events(stage: &Stage<'_>) -> Outcome {
    let place = stage.place_with(Retention::default().events(10))?;
    let (a, b) = (stream("a"), stream("b"));
    let mut model = Model::default();
    let mut handle = stage.open(&place)?;
    let opening = [
        Draft::new("left open").on(a).opening(1),
        Draft::new("left open, too").on(b).opening(1),
        Draft::new("left open everywhere").opening(1),
        Draft::new("replaced").on(a).opening(2),
        Draft::new("in the end").on(a).opening(2),
        Draft::new("closed").on(b).opening(3),
        Draft::new("closed").on(b).closing(3),
    ];
    handle.put(&mut model, &opening)?;
    let none = handle.tend()?;
    same("a writer that lives abandons nothing", &Vec::new(), &none)?;
    for batch in 0..5 {
        let drafts = vec![Draft::new(batch.to_string()).on(stream("filler")); 100];
        handle.put(&mut model, &drafts)?;
    }
    handle.put(&mut model, &[Draft::new("left open late").on(b).opening(9)])?;
    handle.close()?;
    model.abandon();

    let mut handle = stage.open(&place)?;
    await_abandoned(&handle, &model)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    let closing = [
        Draft::new("lost").on(a).closing(1),
        Draft::new("lost").on(b).closing(1),
        Draft::new("lost").closing(1),
        Draft::new("lost").on(a).closing(2),
        Draft::new("lost").on(b).closing(9),
        Draft::new("left open in the second life").on(a).opening(1),
    ];
    handle.put(&mut model, &closing)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    handle.close()?;
    model.abandon();

    let handle = stage.open(&place)?;
    await_abandoned(&handle, &model)
}

fn await_abandoned(handle: &Handle, model: &Model) -> Outcome {
    let expected = model.abandoned();
    let least = expected.iter().filter(|event| event.key.is_some()).count();
    let mut came = handle.tend()?;
    if handle.store.follow().is_some() {
        // A store that several processes share finds out only after a while that one of them is gone.
        Handle::until(handle.patience, || {
            came.extend(handle.tend()?);
            Ok((came.len() >= least).then_some(()))
        })?;
    }
    came.sort_by_key(|event| event.sequence);
    same_abandoned(&expected, &came)?;
    let again = handle.tend()?;
    holds(
        again.is_empty(),
        "tend() hands out each abandoned event once",
        "none",
        failure::events(&again, 0),
    )
}
