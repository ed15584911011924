//! Checks of readers on threads beside a writer: they see whole batches, in order, as soon as `append()` has returned.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use livespan::store::StoredEvent;

use super::retention::join;
use crate::{
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Read, Scope},
    report::{Outcome, holds},
    test_event::{mixed, stream},
};

/// The observations of one reader.
struct Observed {
    events: Vec<StoredEvent>,
    /// The sequences after which the reader found no further events.
    ends: Vec<u64>,
}

pub(crate) fn serves_readers_beside_a_writer(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let scopes = [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
    ];
    let visible = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let mut batches = BTreeSet::from([0]);
    let observations = thread::scope(|threads| {
        let readers: Vec<_> = scopes
            .iter()
            .map(|scope| {
                let reader = handle.share("reader");
                let (visible, done) = (&visible, &done);
                threads.spawn(move || follow(&reader, scope, visible, done))
            })
            .collect();
        let mut written = Ok(());
        for size in (0..120).map(|batch| 1 + batch * 7 % 23) {
            match handle.put(&mut model, &mixed(1..=size)) {
                Ok(_) => visible.store(handle.head(), Ordering::Release),
                Err(violation) => written = Err(violation),
            }
            batches.insert(handle.head());
        }
        done.store(true, Ordering::Release);
        let observations = readers
            .into_iter()
            .map(join)
            .collect::<Outcome<Vec<Observed>>>()?;
        written.map(|()| observations)
    })?;
    for (scope, observed) in scopes.iter().zip(&observations) {
        let read = Read {
            scope,
            after: 0,
            upto: model.head(),
            oldest: (1, 1),
        };
        model.check(&read, &observed.events)?;
    }
    let all = observations
        .first()
        .map(|observed| observed.ends.as_slice());
    for end in all.unwrap_or_default() {
        holds(
            batches.contains(end),
            "a batch is read whole or not at all",
            format!("the end of a batch, one of {batches:?}"),
            format!("nothing after {end}"),
        )?;
    }
    Ok(())
}

/// Reads until the writer is done, and then to the end.
fn follow(
    reader: &Handle,
    scope: &Scope,
    visible: &AtomicU64,
    done: &AtomicBool,
) -> Outcome<Observed> {
    let mut observed = Observed {
        events: Vec::new(),
        ends: Vec::new(),
    };
    let limit = ANY.events(50);
    loop {
        // `done` is loaded before the page is read. Otherwise, the reader could miss events that the writer appended
        // in between.
        let over = done.load(Ordering::Acquire);
        let appended = visible.load(Ordering::Acquire);
        let after = observed
            .events
            .last()
            .map_or(0, |event| event.sequence.get());
        let page = reader.page(scope, after, limit)?;
        if !page.is_empty() {
            observed.events.extend(page);
            continue;
        }
        holds(
            *scope != Scope::All || after >= appended,
            "events can be read as soon as append() has returned",
            format!("events up to {appended}"),
            format!("nothing after {after}"),
        )?;
        if observed.ends.last() != Some(&after) {
            observed.ends.push(after);
        }
        if over {
            return Ok(observed);
        }
        thread::yield_now();
    }
}
