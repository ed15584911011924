//! Events that must be kept only once: the first opening and the first closing of a token, as long as they are kept.

use livespan::Retention;

use crate::{
    context::{Fault, Stage},
    handle::{ANY, Handle},
    model::{Model, Scope},
    report::{Outcome, same},
    test_event::{Draft, stream},
};

/// Events of the stream `flow`: `o7` opens and `c7` closes the token 7, once; anything else is an event like any other.
fn drafts(events: &[&str]) -> Vec<Draft> {
    let draft = |event: &&str| {
        let draft = Draft::new(*event).on(stream("flow"));
        match (event.get(..1), event.get(1..).unwrap_or("").parse()) {
            (Some("o"), Ok(token)) => draft.opening(token).once(),
            (Some("c"), Ok(token)) => draft.closing(token).once(),
            _ => draft,
        }
    };
    events.iter().map(draft).collect()
}

/// Appends, and compares what is said to be left out.
fn put(handle: &mut Handle, model: &mut Model, events: &[&str], duplicates: &[usize]) -> Outcome {
    let left_out = handle.put_once(model, &drafts(events))?;
    same(
        "append() names the events that are kept already, and no others",
        &duplicates,
        &left_out.as_slice(),
    )?;
    handle.check(model, &Scope::All, 0, ANY)
}

pub(crate) fn keeps_once(stage: &Stage<'_>) -> Outcome {
    let place = stage.place()?;
    let mut handle = stage.open(&place)?;
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
    // The same token of another stream is another thing, and so are events that may be there many times.
    let other = Draft::new("o1").on(stream("other")).opening(1).once();
    let many = Draft::new("many").on(stream("flow")).opening(1);
    let left_out = handle.put_once(&mut model, &[other, many.clone(), many])?;
    same("nothing else is left out", &Vec::<usize>::new(), &left_out)?;
    handle.check(&model, &Scope::All, 0, ANY)
}

pub(crate) fn keeps_once_as_long_as_retained(stage: &Stage<'_>) -> Outcome {
    let place = stage.place_with(Retention::default().events(10))?;
    let mut handle = stage.open(&place)?;
    let mut model = Model::default();
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[])?;
    for _ in 0..5 {
        let filler = vec![Draft::new("").on(stream("filler")); 100];
        handle.put(&mut model, &filler)?;
    }
    // What is open is kept beyond retention, and what is over is gone.
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[0])?;
    put(
        &mut handle,
        &mut model,
        &["o2", "c2", "c1", "c1"],
        &[0, 1, 3],
    )?;
    for _ in 0..5 {
        let filler = vec![Draft::new("").on(stream("filler")); 100];
        handle.put(&mut model, &filler)?;
    }
    put(&mut handle, &mut model, &["o1", "c1"], &[])
}

pub(crate) fn keeps_once_after_reopening(stage: &Stage<'_>) -> Outcome {
    let place = stage.place()?;
    let mut handle = stage.open(&place)?;
    let mut model = Model::default();
    put(&mut handle, &mut model, &["o1", "o2", "c2"], &[])?;
    handle.close()?;
    let mut handle = stage.open(&place)?;
    let replayed = ["o1", "c1", "o2", "c2", "o3"];
    let left_out = handle.put_once(&mut model, &drafts(&replayed))?;
    same(
        "append() names the events that an earlier life kept",
        &vec![0, 2, 3],
        &left_out,
    )
}

pub(crate) fn keeps_once_for_all_writers(stage: &Stage<'_>) -> Outcome {
    let place = stage.place()?;
    let mut one = stage.open_as(&place, "one")?;
    let mut other = stage.open_as(&place, "other")?;
    let mut model = Model::default();
    put(&mut one, &mut model, &["o1", "c1", "o2"], &[])?;
    put(
        &mut other,
        &mut model,
        &["o1", "c1", "o2", "c2"],
        &[0, 1, 2],
    )?;
    put(&mut one, &mut model, &["c2", "o3"], &[0])?;
    // What is left out is said again when the answer was lost.
    if !stage.inject(&place, Fault::LoseAnswer) {
        return Ok(());
    }
    let retried = ["c2", "o4", "c4", "o4"];
    if let Ok(first) = other.try_append(&drafts(&retried))? {
        return same("append() returns an error under LoseAnswer", &0, &first);
    }
    stage.inject(&place, Fault::None);
    put(&mut other, &mut model, &retried, &[0, 3])
}
