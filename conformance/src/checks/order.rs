//! Checks of the sequences and the order of events, with one handle and no retention.

use crate::{
    context::CheckContext,
    handle::{ANY, streams},
    model::{Model, Scope},
    report::{Outcome, holds, same},
    test_event::{TestEvent, mixed, stream},
};

pub(crate) fn opens_empty(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let handle = context.open(&location)?;
    same("open() of a new log returns the start", &0, &handle.head())?;
    same(
        "oldest() is the next number if nothing is kept",
        &1,
        &handle.oldest(),
    )?;
    let firsts: Vec<u64> = handle
        .epochs()
        .iter()
        .map(|epoch| epoch.first.get())
        .collect();
    same("a new log has one epoch, from 1 on", &vec![1], &firsts)?;
    let model = Model::default();
    handle.check(&model, &Scope::All, 0, ANY)?;
    handle.check(&model, &streams(&[stream("a")]), 0, ANY)?;
    handle.check(&model, &Scope::All, 1000, ANY)?;
    let none = handle.streams_before(u64::MAX, 10)?;
    same("a new log has no streams", &Vec::new(), &none)?;
    let none = handle.recover_open_events()?;
    same("a new log has no abandoned events", &Vec::new(), &none)?;
    let none = handle.open_global_events()?;
    same("a new log has no open global events", &Vec::new(), &none)
}

pub(crate) fn keeps_nothing(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    for size in [1, 5, 300] {
        handle.append(&mixed(1..=size))?;
        let next = handle.head() + 1;
        same(
            "oldest() is the next number if nothing is kept",
            &next,
            &handle.oldest(),
        )?;
        for scope in [Scope::All, streams(&[stream("a")])] {
            let read = handle.read(&scope, 0, ANY)?;
            same("nothing can be read", &Vec::new(), &read)?;
        }
    }
    let none = handle.streams_before(u64::MAX, 10)?;
    same("no streams are listed", &Vec::new(), &none)?;
    let none = handle.recover_open_events()?;
    same("no events are abandoned", &Vec::new(), &none)
}

pub(crate) fn keeps_order(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for size in [1, 1, 2, 17, 1, 256, 1000, 3] {
        let first = model.head() + 1;
        let given = handle.put(&mut model, &mixed(first..=first + size - 1))?;
        same("numbers have no holes", &first, &given)?;
    }
    same("everything within retention is kept", &1, &handle.oldest())?;
    handle.check(&model, &Scope::All, 0, ANY)?;
    let last = model.head();
    for after in [last, last + 1, last + 1_000_000] {
        let page = handle.page(&Scope::All, after, ANY)?;
        same("there are no events after the newest", &Vec::new(), &page)?;
    }
    Ok(())
}

pub(crate) fn leaves_out_numbers(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for left_out in [0, 1, 7, 100_000, 0] {
        handle.leave_out(left_out);
        let first = handle.put(&mut model, &mixed(1..=9))?;
        handle.put(&mut model, &[TestEvent::new("next").on(stream("a"))])?;
        let oldest = handle.oldest();
        holds(
            oldest <= first,
            "skipped numbers lose no later event",
            format!("oldest() of at most {first}"),
            oldest.to_string(),
        )?;
        for scope in [Scope::All, streams(&[stream("a")]), streams(&[stream("b")])] {
            for after in [0, first - 1, first, first + 4] {
                handle.check(&model, &scope, after, ANY)?;
            }
        }
    }
    Ok(())
}
