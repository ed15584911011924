//! Checks of reads of single streams, and of the list of streams.

use std::collections::HashMap;

use livespan::store::{Sequence, StoredStream, StreamKey};

use crate::{
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Scope},
    report::{Outcome, same},
    test_event::{TestEvent, mixed, stream},
};

pub(crate) fn reads_streams(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    handle.put(&mut model, &[TestEvent::new("only").on(stream("lonely"))])?;
    for batch in 0..8 {
        handle.put(&mut model, &mixed(batch * 11..=batch * 11 + 10))?;
    }
    // Many streams, each with events far apart, which the check reads at once below.
    let many: Vec<StreamKey> = (0..40).map(|one| stream(format!("many-{one}"))).collect();
    for round in 0..3 {
        let test_events: Vec<TestEvent> = many
            .iter()
            .map(|key| TestEvent::new(round.to_string()).on(*key))
            .collect();
        handle.put(&mut model, &test_events)?;
    }
    let named = |names: &[&str]| -> Scope {
        Scope::Streams(names.iter().map(|name| stream(*name)).collect())
    };
    let mut scopes = vec![
        named(&["a"]),
        named(&["c", "a"]),
        named(&["a", "b", "c"]),
        named(&["lonely"]),
        named(&["unknown"]),
        named(&["unknown", "b", "lonely"]),
        Scope::Streams(many.clone()),
    ];
    scopes.extend(many.iter().take(3).map(|key| streams(&[*key])));
    for scope in &scopes {
        for after in [0, 1, 5, 6, 44, 88, 89, 100, model.head() - 1, model.head()] {
            for events in [4, usize::MAX] {
                handle.check(&model, scope, after, ANY.events(events))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn lists_streams(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handle = context.open(&location)?;
    let mut expected: Vec<StoredStream> = Vec::new();
    for round in 0..3_u64 {
        let test_events: Vec<TestEvent> = (0..12)
            .map(|one| TestEvent::new("").on(stream(format!("stream-{}", one * (round + 1) % 17))))
            .chain([TestEvent::new("of every stream")])
            .collect();
        let first = handle.append(&test_events)?;
        for (test_event, sequence) in test_events.iter().zip(first..) {
            note(&mut expected, test_event.key, sequence);
        }
    }
    expected.reverse();
    if handle.streams_before(u64::MAX, 100)?.is_empty() {
        // A store that cannot list its streams must return an empty list every time, as it did here.
        return Ok(());
    }
    for limit in [1, 2, 5, 100] {
        for before in 0..=handle.head() + 1 {
            let listed = handle.streams_before(before, limit)?;
            let wanted: Vec<StoredStream> = expected
                .iter()
                .filter(|one| one.first.get() < before)
                .take(limit)
                .copied()
                .collect();
            same(
                format!("the {limit} newest streams that begin before {before}"),
                &wanted,
                &listed,
            )?;
        }
    }
    walks_in_pages(&handle, &expected)
}

fn note(streams: &mut Vec<StoredStream>, key: Option<StreamKey>, sequence: u64) {
    let Some(key) = key else {
        return;
    };
    let last = Sequence::new(sequence);
    match streams.iter_mut().find(|one| one.key == key) {
        Some(known) => known.last = last,
        None => streams.push(StoredStream::new(key, last..=last)),
    }
}

fn walks_in_pages(handle: &Handle, expected: &[StoredStream]) -> Outcome {
    let mut before = u64::MAX;
    let mut walked: Vec<StoredStream> = Vec::new();
    loop {
        let page = handle.streams_before(before, 3)?;
        let Some(last) = page.last() else {
            break;
        };
        before = last.first.get();
        walked.extend(page);
        let times = walked.iter().fold(HashMap::new(), |mut times, one| {
            *times.entry(one.key).or_insert(0_u32) += 1;
            times
        });
        same(
            "no stream is listed twice",
            &None,
            &times.into_iter().find(|(_, times)| *times > 1),
        )?;
    }
    same(
        "page by page, every stream is listed",
        &expected.to_vec(),
        &walked,
    )
}
