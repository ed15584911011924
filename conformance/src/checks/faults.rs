//! Checks of appends that fail and appends that are retried, with [faults](Fault) that the user of the suite injects.

use crate::{
    context::{CheckContext, Fault},
    handle::{ANY, Handle, streams},
    location::StoreLocation,
    model::{Model, Scope},
    report::{Outcome, Violation, holds, same},
    test_event::{TestEvent, mixed, stream},
};

/// The faults that lose a whole batch.
const REFUSALS: [Fault; 2] = [Fault::RefuseAppends, Fault::BreakAppend];

pub(crate) fn refuses_batches_whole(context: &CheckContext<'_>) -> Outcome {
    for fault in REFUSALS {
        let location = context.location()?;
        let mut handle = context.open(&location)?;
        let mut model = Model::default();
        handle.put(&mut model, &mixed(1..=10))?;
        handle.put(
            &mut model,
            &[TestEvent::new("open").on(stream("a")).opening(1)],
        )?;
        if !context.inject(&location, fault) {
            continue;
        }
        let refused = refused();
        let times = if fault == Fault::BreakAppend { 1 } else { 3 };
        for _ in 0..times {
            fails(&mut handle, fault, &refused)?;
            check(&handle, &model)?;
        }
        context.inject(&location, Fault::None);
        check(&handle, &model)?;
        if handle.store.shared_log().is_none() {
            // The log has shown those events to readers, so their sequences are used up.
            handle.leave_out(refused.len() as u64);
        } else {
            // A batch that failed is appended again before any other.
            handle.put(&mut model, &refused)?;
        }
        let oldest = handle.oldest();
        handle.put(&mut model, &mixed(1..=7))?;
        check(&handle, &model)?;
        holds(
            handle.oldest() <= handle.head(),
            "later appends are kept",
            format!("oldest() from {oldest} to {}", handle.head()),
            handle.oldest().to_string(),
        )?;
    }
    Ok(())
}

/// A batch with events of all streams, an opening and a closing event. So the checks notice any part of it that is
/// kept.
fn refused() -> Vec<TestEvent> {
    let mut refused = mixed(101..=110);
    refused.push(TestEvent::new("opens").opening(8));
    refused.push(TestEvent::new("closes").on(stream("a")).closing(1));
    refused.push(TestEvent::new("last").on(stream("new")));
    refused
}

fn fails(handle: &mut Handle, fault: Fault, events: &[TestEvent]) -> Outcome {
    match handle.try_append(events)? {
        Err(_) => Ok(()),
        Ok(first) => Err(Violation::new(
            format!("append() returns an error under {fault:?}"),
            "an error",
            format!("kept from {first}"),
        )),
    }
}

fn check(handle: &Handle, model: &Model) -> Outcome {
    for scope in [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("new")]),
    ] {
        handle.check(model, &scope, 0, ANY)?;
    }
    let listed = handle.streams_before(u64::MAX, 100)?;
    let ghost = listed.iter().find(|one| {
        let events = model.events(one.first.get()..=one.last.get(), &streams(&[one.key]));
        !events.iter().any(|event| event.key == Some(one.key))
    });
    same("no stream is listed for rejected events", &None, &ghost)
}

pub(crate) fn keeps_refused_events_out_after_reopening(context: &CheckContext<'_>) -> Outcome {
    if !context.reopens() {
        return Ok(());
    }
    for fault in REFUSALS {
        let location = context.location()?;
        let mut handle = context.open(&location)?;
        let mut model = Model::default();
        handle.put(&mut model, &mixed(1..=10))?;
        if !context.inject(&location, fault) {
            continue;
        }
        fails(&mut handle, fault, &refused())?;
        context.inject(&location, Fault::None);
        handle.close()?;
        model.abandon();
        let mut handle = context.open(&location)?;
        check(&handle, &model)?;
        handle.put(&mut model, &mixed(1..=7))?;
        check(&handle, &model)?;
    }
    Ok(())
}

pub(crate) fn numbers_retried_batches_once(context: &CheckContext<'_>) -> Outcome {
    if !context.follows()? {
        return Ok(());
    }
    let location = context.location()?;
    let mut handle = context.open_as(&location, "writer")?;
    let mut other = context.open_as(&location, "other")?;
    let mut model = Model::default();
    handle.put(&mut model, &mixed(1..=10))?;
    for times in 1..=3 {
        let batch = mixed(11..=20);
        let first = model.head() + 1;
        for _ in 0..times {
            if !context.inject(&location, Fault::LoseAnswer) {
                return Ok(());
            }
            fails(&mut handle, Fault::LoseAnswer, &batch)?;
        }
        context.inject(&location, Fault::None);
        // Other handles do not wait for the retry.
        let between = other.append(&mixed(1..=3))?;
        same(
            "a batch that was kept holds its numbers even before its retry",
            &(first + 10),
            &between,
        )?;
        retry(&mut handle, &mut model, first, &batch)?;
        model.append(other.writer(), between, &mixed(1..=3));
        handle.check(&model, &Scope::All, 0, ANY)?;
        handle.check(&model, &streams(&[stream("a")]), 0, ANY)?;
    }
    refused_then_retried(context, &location, &mut handle, &mut model)
}

/// Appends the batch again; the store has kept it from `first` on.
fn retry(handle: &mut Handle, model: &mut Model, first: u64, batch: &[TestEvent]) -> Outcome {
    let given = handle.put(model, batch)?;
    same(
        "a retried batch has the numbers under which it was kept",
        &first,
        &given,
    )
}

fn refused_then_retried(
    context: &CheckContext<'_>,
    location: &StoreLocation,
    handle: &mut Handle,
    model: &mut Model,
) -> Outcome {
    if !context.inject(location, Fault::BreakAppend) {
        return Ok(());
    }
    let batch = mixed(31..=40);
    fails(handle, Fault::BreakAppend, &batch)?;
    context.inject(location, Fault::None);
    handle.put(model, &batch)?;
    // An equal batch counts as a new one once the first has been acknowledged.
    handle.put(model, &batch)?;
    handle.check(model, &Scope::All, 0, ANY)
}

pub(crate) fn keeps_equal_batches(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for _ in 0..5 {
        handle.put(&mut model, &[TestEvent::new("same").on(stream("a"))])?;
    }
    for _ in 0..3 {
        handle.put(&mut model, &vec![TestEvent::new("same"); 10])?;
    }
    same("every event has a number of its own", &35, &handle.head())?;
    handle.check(&model, &Scope::All, 0, ANY)
}
