//! Checks of deduplication: the store keeps the first opening and the first closing event of a token, and leaves out
//! later ones.

use livespan::Retention;

use crate::{
    context::{CheckContext, Fault},
    handle::{ANY, Handle},
    model::{Model, Scope},
    report::{Outcome, same},
    test_event::{TestEvent, stream},
};

/// Builds events of the stream `flow`. `o7` opens the token 7 and `c7` closes it, both deduplicated; any other text is
/// an ordinary event.
fn test_events(events: &[&str]) -> Vec<TestEvent> {
    let test_event = |event: &&str| {
        let test_event = TestEvent::new(*event).on(stream("flow"));
        match (event.get(..1), event.get(1..).unwrap_or("").parse()) {
            (Some("o"), Ok(token)) => test_event.opening(token).deduplicated(),
            (Some("c"), Ok(token)) => test_event.closing(token).deduplicated(),
            _ => test_event,
        }
    };
    events.iter().map(test_event).collect()
}

/// Appends the events, and compares the duplicates that the store reports with the expected ones.
fn put(handle: &mut Handle, model: &mut Model, events: &[&str], duplicates: &[usize]) -> Outcome {
    let left_out = handle.put_once(model, &test_events(events))?;
    same(
        "append() reports exactly the duplicates",
        &duplicates,
        &left_out.as_slice(),
    )?;
    handle.check(model, &Scope::All, 0, ANY)
}

pub(crate) fn keeps_once(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    put(&mut handle, &mut model, &["o1", "x", "o1", "o2"], &[2])?;
    put(&mut handle, &mut model, &["o1", "o2"], &[0, 1])?;
    put(
        &mut handle,
        &mut model,
        &["y", "o2", "c2", "o2", "c2"],
        &[1, 3, 4],
    )?;
    put(&mut handle, &mut model, &["c2", "o2", "c1", "z"], &[0, 1])?;
    put(&mut handle, &mut model, &["c3", "o3", "c3"], &[1, 2])?;
    // Tokens of another stream are separate, and events that are not deduplicated may repeat.
    let other = TestEvent::new("o1")
        .on(stream("other"))
        .opening(1)
        .deduplicated();
    let many = TestEvent::new("many").on(stream("flow")).opening(1);
    let left_out = handle.put_once(&mut model, &[other, many.clone(), many])?;
    same("nothing else is left out", &Vec::<usize>::new(), &left_out)?;
    handle.check(&model, &Scope::All, 0, ANY)
}

pub(crate) fn keeps_once_as_long_as_retained(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(10))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[])?;
    for _ in 0..5 {
        let filler = vec![TestEvent::new("").on(stream("filler")); 100];
        handle.put(&mut model, &filler)?;
    }
    // Open events outlive retention; closed ones do not.
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[0])?;
    put(
        &mut handle,
        &mut model,
        &["o2", "c2", "c1", "c1"],
        &[0, 1, 3],
    )?;
    for _ in 0..5 {
        let filler = vec![TestEvent::new("").on(stream("filler")); 100];
        handle.put(&mut model, &filler)?;
    }
    put(&mut handle, &mut model, &["o1", "c1"], &[])
}

pub(crate) fn keeps_once_after_reopening(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[])?;
    handle.close()?;
    let mut handle = context.open(&location)?;
    let replayed = ["o1", "c1", "o2", "c2", "o3"];
    let left_out = handle.put_once(&mut model, &test_events(&replayed))?;
    same(
        "append() reports duplicates of events that an earlier epoch kept",
        &vec![0, 2, 3],
        &left_out,
    )
}

pub(crate) fn keeps_once_for_all_writers(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut one = context.open_as(&location, "one")?;
    let mut other = context.open_as(&location, "other")?;
    let mut model = Model::default();
    put(&mut one, &mut model, &["o1", "c1", "o2"], &[])?;
    put(
        &mut other,
        &mut model,
        &["o1", "c1", "o2", "c2"],
        &[0, 1, 2],
    )?;
    put(&mut one, &mut model, &["c2", "o3"], &[0])?;
    // If the answer of an append is lost, the retry reports the same duplicates again.
    if !context.inject(&location, Fault::LoseAnswer) {
        return Ok(());
    }
    let retried = ["c2", "o4", "c4", "o4"];
    if let Ok(first) = other.try_append(&test_events(&retried))? {
        return same("append() returns an error under LoseAnswer", &0, &first);
    }
    context.inject(&location, Fault::None);
    put(&mut other, &mut model, &retried, &[0, 3])
}
