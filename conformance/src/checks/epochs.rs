//! Checks of reopening a log: events, sequences and epochs survive, and the store returns the events that the previous
//! writer left open.

use std::collections::HashSet;

use livespan::{
    Retention,
    store::{Epoch, EpochStart},
};

use crate::{
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Scope, same_abandoned},
    report::{self, Outcome, holds, same},
    test_event::{TestEvent, mixed, stream},
};

pub(crate) fn survives_reopening(context: &CheckContext<'_>) -> Outcome {
    for events in [usize::MAX, 20] {
        let location = context.location_with(Retention::default().events(events))?;
        let mut model = Model::default();
        for size in [0, 1, 40, 3, 0, 300] {
            let mut handle = context.open(&location)?;
            check_reopened(&handle, &model)?;
            if size > 0 {
                let first = model.head() + 1;
                let given = handle.put(&mut model, &mixed(1..=size))?;
                same("numbers continue where they stopped", &first, &given)?;
                check_reopened(&handle, &model)?;
            }
            handle.close()?;
        }
        check_reopened(&context.open(&location)?, &model)?;
    }
    Ok(())
}

pub(crate) fn gives_back_when_closed(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut model = Model::default();
    let mut closed = context.open_as(&location, "closed")?;
    closed.put(&mut model, &mixed(1..=20))?;
    closed.close_store();
    closed.close_store();
    // A closed log can still be read: readers may still be reading it when it closes.
    closed.check(&model, &Scope::All, 0, ANY.events(7))?;
    let mut next = context.open_as(&location, "next")?;
    check_reopened(&next, &model)?;
    next.put(&mut model, &mixed(21..=30))?;
    check_reopened(&next, &model)?;
    closed.close()?;
    next.put(&mut model, &mixed(31..=40))?;
    check_reopened(&next, &model)
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
        "oldest() is the sequence of a kept event or the next number",
        format!("1 to {}", model.head() + 1),
        oldest.to_string(),
    )?;
    holds(
        oldest <= model.head() || model.head() == 0,
        "reopening never evicts the newest event",
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
                handle.check(model, &scope, after, ANY.events(events))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn tells_epochs_apart(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut known: Vec<EpochStart> = Vec::new();
    let mut seen: HashSet<Epoch> = HashSet::new();
    let mut model = Model::default();
    for round in 0..6_u64 {
        let mut handle = context.open(&location)?;
        let epochs = handle.epochs();
        check_epochs(&epochs, &known, &model)?;
        let new = epochs
            .iter()
            .find(|start| !known.contains(start) && seen.contains(&start.epoch));
        same("a new epoch has a name that was never used", &None, &new)?;
        seen.extend(epochs.iter().map(|start| start.epoch));
        if round % 3 != 1 {
            let first = handle.put(&mut model, &mixed(1..=5))?;
            let begun = epochs.last().map_or(0, |start| start.first.get());
            holds(
                first >= begun,
                "the current epoch begins no later than the first number that was used in it",
                format!("at most {first}"),
                begun.to_string(),
            )?;
        }
        same(
            "epochs stay the same while a log is open",
            &epochs.to_vec(),
            &handle.epochs().to_vec(),
        )?;
        known = epochs.to_vec();
        handle.close()?;
    }
    Ok(())
}

/// Compares the epochs of a log that was just opened with those that it had when it was closed.
fn check_epochs(epochs: &[EpochStart], known: &[EpochStart], model: &Model) -> Outcome {
    let show = || format!("{epochs:?}");
    holds(
        epochs.is_sorted_by(|one, other| one.first <= other.first),
        "epochs are listed oldest first",
        "ascending first numbers",
        show(),
    )?;
    let mut names: Vec<&str> = epochs.iter().map(|start| start.epoch.as_str()).collect();
    names.sort_unstable();
    holds(
        names.is_sorted_by(|one, other| one < other),
        "every epoch has a name of its own",
        "distinct epochs",
        show(),
    )?;
    let goes_on = epochs.len() == known.len();
    let next = model.head() + 1;
    let begun = epochs.last().map_or(0, |start| start.first.get());
    holds(
        goes_on || begun == next,
        "a new epoch begins with the next number",
        next.to_string(),
        begun.to_string(),
    )?;
    // The list may lack an epoch that issued no sequence. Such an epoch begins at the same sequence as the next one.
    let empty = |at: usize| {
        let next_first = known.get(at + 1).map_or(next, |start| start.first.get());
        known
            .get(at)
            .is_none_or(|start| start.first.get() >= next_first)
    };
    let lost = known
        .iter()
        .enumerate()
        .find(|(at, start)| !empty(*at) && !epochs.contains(start));
    same(
        format!(
            "every epoch with events is still listed, because retention removed none of {known:?}"
        ),
        &None,
        &lost.map(|(_, start)| start),
    )
}

pub(crate) fn hands_out_abandoned_events(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(10))?;
    let (a, b) = (stream("a"), stream("b"));
    let mut model = Model::default();
    let mut handle = context.open(&location)?;
    let opening = [
        TestEvent::new("left open").on(a).opening(1),
        TestEvent::new("left open, too").on(b).opening(1),
        TestEvent::new("left open everywhere").opening(1),
        TestEvent::new("replaced").on(a).opening(2),
        TestEvent::new("in the end").on(a).opening(2),
        TestEvent::new("closed").on(b).opening(3),
        TestEvent::new("closed").on(b).closing(3),
    ];
    handle.put(&mut model, &opening)?;
    let none = handle.recover_open_events()?;
    same("a live writer abandons no event", &Vec::new(), &none)?;
    for batch in 0..5 {
        let events = vec![TestEvent::new(batch.to_string()).on(stream("filler")); 100];
        handle.put(&mut model, &events)?;
    }
    handle.put(
        &mut model,
        &[TestEvent::new("left open late").on(b).opening(9)],
    )?;
    handle.close()?;
    model.abandon();

    let mut handle = context.open(&location)?;
    await_abandoned(&handle, &model)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    let closing = [
        TestEvent::new("lost").on(a).closing(1),
        TestEvent::new("lost").on(b).closing(1),
        TestEvent::new("lost").closing(1),
        TestEvent::new("lost").on(a).closing(2),
        TestEvent::new("lost").on(b).closing(9),
        TestEvent::new("left open in the second epoch")
            .on(a)
            .opening(1),
    ];
    handle.put(&mut model, &closing)?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    handle.close()?;
    model.abandon();

    let handle = context.open(&location)?;
    await_abandoned(&handle, &model)
}

fn await_abandoned(handle: &Handle, model: &Model) -> Outcome {
    let expected = model.abandoned();
    let least = expected.iter().filter(|event| event.key.is_some()).count();
    let mut came = handle.recover_open_events()?;
    if handle.store.shared_log().is_some() {
        // A shared store notices the death of a process only after a while.
        Handle::until(handle.timeout, || {
            came.extend(handle.recover_open_events()?);
            Ok((came.len() >= least).then_some(()))
        })?;
    }
    came.sort_by_key(|event| event.sequence);
    same_abandoned(&expected, &came)?;
    let again = handle.recover_open_events()?;
    holds(
        again.is_empty(),
        "recover_open_events() returns each abandoned event once",
        "none",
        report::events(&again, 0),
    )
}
