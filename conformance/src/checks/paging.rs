//! Checks of pages: from every position, with every limit.

use livespan::store::PageLimit;

use crate::{
    context::CheckContext,
    handle::{ANY, streams},
    model::{Model, Scope},
    report::{Outcome, same},
    test_event::{TestEvent, mixed, stream},
};

pub(crate) fn pages_at_every_cut(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for range in [1..=20, 21..=21, 22..=40] {
        handle.put(&mut model, &mixed(range))?;
    }
    let scopes = [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
        streams(&[stream("unknown")]),
    ];
    for scope in &scopes {
        for after in 0..=model.head() + 1 {
            for events in [1, 2, 7, 20, 41] {
                let limit = ANY.events(events);
                handle.check(&model, scope, after, limit)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn pages_within_limits(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let sizes = [0, 1, 10, 100, 1000, 0, 0, 10_000, 1, 100_000, 5];
    let test_events: Vec<TestEvent> = sizes
        .iter()
        .map(|size| TestEvent::new(vec![b'x'; *size]).on(stream("a")))
        .collect();
    handle.put(&mut model, &test_events)?;
    handle.put(&mut model, &mixed(1..=20))?;
    let bytes = [0, 1, 10, 11, 1111, 1112, 100_000, usize::MAX];
    let events = [0, 1, 2, 31, usize::MAX];
    for scope in [Scope::All, streams(&[stream("a")])] {
        for limit in events
            .iter()
            .flat_map(|events| bytes.map(|bytes| PageLimit::default().events(*events).bytes(bytes)))
        {
            handle.check(&model, &scope, 0, limit)?;
            for after in (0..model.head()).step_by(3) {
                let first = handle.page(&scope, after, limit)?.first().cloned();
                let wanted = model
                    .events(after + 1..=model.head(), &scope)
                    .first()
                    .cloned();
                same(
                    format!(
                        "a page after {after}, {limit:?}, begins with the next event, however small the limit"
                    ),
                    &wanted.map(|event| event.sequence),
                    &first.map(|event| event.sequence),
                )?;
            }
        }
    }
    Ok(())
}
