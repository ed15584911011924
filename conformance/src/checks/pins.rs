//! Checks of the events that a store keeps beyond retention, within bounds: opening events, open streams, and streams
//! that are kept on request.

use livespan::{
    Retention,
    store::{KeepError, StoredEvent, StreamKey},
};

use crate::{
    checks::retention::counts_exactly,
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Scope, same_events},
    report::{Outcome, holds, same},
    test_event::{TestEvent, mixed, stream},
};

/// Appends 500 events to the stream `filler`, so that retention (10 events here) evicts earlier events that are not
/// open. So many are needed because some stores evict in lumps.
fn filler(handle: &mut Handle, model: &mut Model) -> Outcome {
    for batch in 0..5 {
        let events = vec![TestEvent::new(batch.to_string()).on(stream("filler")); 100];
        handle.put(model, &events)?;
    }
    Ok(())
}

fn check_everywhere(handle: &Handle, model: &Model) -> Outcome {
    let oldest = handle.oldest();
    let scopes = [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b")]),
        streams(&[stream("a"), stream("b")]),
        streams(&[stream("unknown")]),
    ];
    for scope in &scopes {
        for after in [0, 1, 2, 3, 5, oldest - 1, oldest] {
            for events in [1, 2, usize::MAX] {
                handle.check(model, scope, after, ANY.events(events))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn keeps_open_events(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(10))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let (a, b) = (stream("a"), stream("b"));
    let opening = [
        TestEvent::new("before").on(a),
        TestEvent::new("first").on(a).opening(1),
        // Each stream has its own tokens. So have the events that belong to every stream.
        TestEvent::new("first of b").on(b).opening(1),
        TestEvent::new("everywhere").opening(1),
        TestEvent::new("second").on(a).opening(u64::MAX),
        TestEvent::new("at once").on(a).opening(3),
        TestEvent::new("over").on(a).closing(3),
        TestEvent::new("between").on(b),
    ];
    handle.put(&mut model, &opening)?;
    check_everywhere(&handle, &model)?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)?;

    // These tokens have no open event.
    let foreign = [
        TestEvent::new("").on(a).closing(7),
        TestEvent::new("").closing(u64::MAX),
        TestEvent::new("").on(stream("c")).closing(1),
    ];
    handle.put(&mut model, &foreign)?;
    check_everywhere(&handle, &model)?;

    // Opening a token again replaces its event, whether or not that event is beyond retention.
    let again = [
        TestEvent::new("first again").on(a).opening(1),
        TestEvent::new("soon again").on(b).opening(2),
        TestEvent::new("and again").on(b).opening(2),
    ];
    handle.put(&mut model, &again)?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)?;

    for closing in [
        TestEvent::new("closed").on(a).closing(1),
        TestEvent::new("closed").closing(1),
        TestEvent::new("closed").on(b).closing(1),
        TestEvent::new("closed").on(a).closing(u64::MAX),
        TestEvent::new("closed").on(b).closing(2),
    ] {
        handle.put(&mut model, &[closing])?;
        check_everywhere(&handle, &model)?;
    }
    same("everything is closed", &0, &model.open().len())?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)
}

pub(crate) fn keeps_states(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(10))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let (a, b) = (stream("a"), stream("b"));
    let state = |payload: &str, token| TestEvent::new(payload).with_state_of(token);
    let first = [
        TestEvent::new("opened").on(a).opening(1),
        state("replaced at once", 1).on(a),
        state("of no open token", 2).on(a),
        state("before the token is open", 1).on(b),
        TestEvent::new("opened").on(b).opening(1),
        TestEvent::new("everywhere").opening(1),
        state("everywhere", 1),
        state("first", 1).on(a),
    ];
    handle.put(&mut model, &first)?;
    check_everywhere(&handle, &model)?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)?;

    // A newer state replaces one that retention has passed.
    handle.put(&mut model, &[state("second", 1).on(a)])?;
    check_everywhere(&handle, &model)?;
    handle.put(&mut model, &[state("of b", 1).on(b)])?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)?;

    // So does opening or closing the token, also within one batch.
    let again = TestEvent::new("again").on(a).opening(1);
    handle.put(&mut model, &[again])?;
    check_everywhere(&handle, &model)?;
    let at_once = [
        state("third", 1).on(a),
        TestEvent::new("closed").on(b).closing(1),
        state("too late", 1).on(b),
    ];
    handle.put(&mut model, &at_once)?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)?;
    let closed = TestEvent::new("closed").on(a).closing(1);
    handle.put(&mut model, &[closed, TestEvent::new("closed").closing(1)])?;
    filler(&mut handle, &mut model)?;
    check_everywhere(&handle, &model)
}

pub(crate) fn bounds_open_events(context: &CheckContext<'_>) -> Outcome {
    const BATCH: usize = 4096;
    // The bound of retention, in events. A store may keep this many events of the open stream in addition to the pinned
    // ones.
    const KEPT: usize = 10;
    let location = context.location_with(Retention::default().events(KEPT))?;
    let mut handle = context.open(&location)?;
    let mut token = 0..;
    for _ in 0..Retention::PINNED_EVENTS_MAX / BATCH + 2 {
        let events: Vec<TestEvent> = token
            .by_ref()
            .take(BATCH)
            .map(|token| TestEvent::new("").on(stream("a")).opening(token))
            .collect();
        handle.append(&events)?;
    }
    let (opened, kept) = beyond_retention(&mut handle)?;
    within(
        kept.len(),
        opened,
        Retention::PINNED_EVENTS_MAX + KEPT,
        "opening events beyond retention",
    )?;

    let location = context.location_with(Retention::default().events(KEPT))?;
    let mut handle = context.open(&location)?;
    let large = 200_000;
    for token in (0..).take(Retention::PINNED_BYTES_MAX / large + 15) {
        let event = TestEvent::new(vec![b'x'; large]).opening(token);
        handle.append(&[event.on(stream("a"))])?;
    }
    let (opened, kept) = beyond_retention(&mut handle)?;
    within(
        kept.iter().map(|event| event.payload.len()).sum(),
        opened * large,
        Retention::PINNED_BYTES_MAX + KEPT * large,
        "payload bytes of opening events beyond retention",
    )
}

/// Appends filler after opening events. Returns how many of the opening events are before `oldest()`, and which of them
/// are kept.
fn beyond_retention(handle: &mut Handle) -> Outcome<(usize, Vec<StoredEvent>)> {
    let opened = handle.head();
    filler(handle, &mut Model::default())?;
    let limit = ANY.events(1000);
    let oldest = handle.oldest();
    let mut kept = handle.read(&Scope::All, 0, limit)?;
    kept.retain(|event| event.sequence.get() < oldest);
    let opened = usize::try_from(opened.min(oldest - 1)).unwrap_or(usize::MAX);
    Ok((opened, kept))
}

pub(crate) fn keeps_open_streams_whole(context: &CheckContext<'_>) -> Outcome {
    const MAX: usize = 400;
    let location = context.location_with(Retention::default().events(MAX))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let (small, large) = (stream("small"), stream("large"));
    let mut begun = vec![TestEvent::new("start").on(small).opening(1)];
    begun.extend((0..MAX / 16).map(|step| TestEvent::new(step.to_string()).on(small)));
    begun.push(TestEvent::new("start").on(large).opening(1));
    begun.extend((0..MAX / 2).map(|step| TestEvent::new(step.to_string()).on(large)));
    handle.put(&mut model, &begun)?;
    for batch in 0..60_u64 {
        let ended = (0..20).map(|number| stream(format!("ended {}", batch * 20 + number)));
        let ended = ended.flat_map(|key| {
            let started = TestEvent::new("start").on(key).opening(7);
            [started, TestEvent::new("end").on(key).closing(7)]
        });
        let mut events: Vec<TestEvent> = ended.collect();
        if batch % 10 == 0 {
            events.push(TestEvent::new(batch.to_string()).on(small));
        }
        handle.put(&mut model, &events)?;
        is_whole(&handle, &model, small)?;
        counts_exactly(&handle, &model, large)?;
    }
    handle.put(&mut model, &[TestEvent::new("end").on(small).closing(1)])?;
    is_whole(&handle, &model, small)?;
    handle.check(&model, &Scope::All, 0, ANY)
}

/// Checks that every event of the stream can be read, and that the store reports no evicted event of it.
fn is_whole(handle: &Handle, model: &Model, key: StreamKey) -> Outcome {
    let scope = streams(&[key]);
    let promise = format!("no event of {} is evicted", scope.show());
    let expected = model.events(1..=model.head(), &scope);
    let evicted = handle.evicted(&[key])?.pop().flatten();
    let evicted = evicted.map_or(0, |evicted| evicted.events);
    same(format!("{promise}: evicted()"), &0, &evicted)?;
    let sequences = |events: Vec<StoredEvent>| -> Vec<u64> {
        let sequences = events.iter().map(|event| event.sequence.get());
        sequences.collect()
    };
    let came = handle.read(&scope, 0, ANY)?;
    same(promise, &sequences(expected), &sequences(came))
}

/// Appends a stream that has ended: an opening event, `count` others, and a closing event.
fn ended(handle: &mut Handle, model: &mut Model, key: StreamKey, count: usize) -> Outcome {
    let mut events = vec![TestEvent::new("start").on(key).opening(1)];
    events.extend((0..count).map(|step| TestEvent::new(step.to_string()).on(key)));
    events.push(TestEvent::new("end").on(key).closing(1));
    handle.put(model, &events).map(drop)
}

/// Checks that the store refuses to keep the stream, with the expected error.
fn refuses(handle: &Handle, key: StreamKey, expected: &KeepError) -> Outcome {
    let refusal = handle.keep(key)?;
    same(
        format!("keep() refuses {key}"),
        &format!("{:?}", Some(expected)),
        &format!("{refusal:?}"),
    )
}

fn accepts(handle: &Handle, key: StreamKey) -> Outcome {
    let refusal = handle.keep(key)?;
    holds(
        refusal.is_none(),
        format!("keep() keeps {key}"),
        "no error",
        format!("{refusal:?}"),
    )
}

fn are_kept(handle: &Handle, expected: &[StreamKey]) -> Outcome {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    same(
        "kept() returns the kept streams",
        &expected,
        &handle.kept()?,
    )
}

pub(crate) fn keeps_streams_on_request(context: &CheckContext<'_>) -> Outcome {
    const MAX: usize = 400;
    const SHARE: usize = MAX / Retention::KEPT_DIVISOR;
    let location = context.location_with(Retention::default().events(MAX))?;
    let mut handle = context.open(&location)?;
    if handle.store.kept_streams().is_none() {
        return Ok(());
    }
    let mut model = Model::default();
    let (a, b, large) = (stream("a"), stream("b"), stream("large"));
    refuses(&handle, a, &KeepError::Unknown)?;
    ended(&mut handle, &mut model, a, 8)?;
    ended(&mut handle, &mut model, b, 8)?;
    ended(&mut handle, &mut model, large, SHARE)?;
    accepts(&handle, a)?;
    accepts(&handle, a)?;
    accepts(&handle, b)?;
    refuses(&handle, large, &KeepError::TooLarge)?;
    are_kept(&handle, &[a, b])?;
    for round in 0..20 {
        filler(&mut handle, &mut model)?;
        handle.put(&mut model, &[TestEvent::new(round.to_string()).on(a)])?;
        is_whole(&handle, &model, a)?;
        is_whole(&handle, &model, b)?;
        handle.check(&model, &Scope::All, 0, ANY)?;
    }
    // Stream `a`, the larger one, now outgrows the share of kept streams, so the store no longer keeps it.
    ended(&mut handle, &mut model, a, SHARE)?;
    filler(&mut handle, &mut model)?;
    // A shared store may report this later.
    Handle::until(handle.timeout, || Ok((handle.kept()? == [b]).then_some(())))?;
    are_kept(&handle, &[b])?;
    same(
        "stop_keeping() of a stream that is not kept",
        &false,
        &handle.stop_keeping(a)?,
    )?;
    displace(&mut handle, &mut model, 1)?;
    is_whole(&handle, &model, b)?;
    same(
        "stop_keeping() of a kept stream",
        &true,
        &handle.stop_keeping(b)?,
    )?;
    are_kept(&handle, &[])?;
    displace(&mut handle, &mut model, 2)?;
    for key in [a, b] {
        let left = handle.read(&streams(&[key]), 0, ANY)?;
        same(
            format!("retention removes {key}, which is no longer kept"),
            &0,
            &left.len(),
        )?;
    }
    let many: Vec<StreamKey> = (0..=Retention::KEPT_STREAMS_MAX)
        .map(|number| stream(format!("one of many {number}")))
        .collect();
    for key in &many {
        handle.put(&mut model, &[TestEvent::new("only").on(*key)])?;
    }
    let Some((last, first)) = many.split_last() else {
        return Ok(());
    };
    first.iter().try_for_each(|key| accepts(&handle, *key))?;
    refuses(&handle, *last, &KeepError::TooMany)?;
    are_kept(&handle, first)
}

/// Appends open streams that need the whole share of carried events, then filler: retention then removes every other
/// stream that is not kept.
fn displace(handle: &mut Handle, model: &mut Model, token: u64) -> Outcome {
    for number in 0..2 {
        let key = stream(format!("running {token} {number}"));
        let mut events = vec![TestEvent::new("start").on(key).opening(token)];
        events.extend((0..59).map(|step| TestEvent::new(step.to_string()).on(key)));
        handle.put(model, &events)?;
        filler(handle, model)?;
    }
    filler(handle, model)
}

pub(crate) fn keeps_streams_on_request_after_reopening(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(400))?;
    let mut handle = context.open(&location)?;
    if handle.store.kept_streams().is_none() {
        return Ok(());
    }
    let mut model = Model::default();
    let (a, b) = (stream("a"), stream("b"));
    ended(&mut handle, &mut model, a, 8)?;
    ended(&mut handle, &mut model, b, 8)?;
    accepts(&handle, a)?;
    accepts(&handle, b)?;
    filler(&mut handle, &mut model)?;
    handle.close()?;
    let mut handle = context.open(&location)?;
    are_kept(&handle, &[a, b])?;
    same(
        "stop_keeping() of a kept stream",
        &true,
        &handle.stop_keeping(b)?,
    )?;
    for _ in 0..3 {
        filler(&mut handle, &mut model)?;
        is_whole(&handle, &model, a)?;
    }
    handle.close()?;
    let mut handle = context.open(&location)?;
    are_kept(&handle, &[a])?;
    filler(&mut handle, &mut model)?;
    is_whole(&handle, &model, a)
}

fn within(came: usize, opened: usize, most: usize, what: &str) -> Outcome {
    let least = opened.min(most) / 2;
    holds(
        (least..=most).contains(&came),
        format!("{what}: as many as are open, up to the bound"),
        format!("{least} to {most}"),
        came.to_string(),
    )
}

pub(crate) fn lists_open_global_events(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(10))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let opening = [
        TestEvent::new("one").opening(1),
        TestEvent::new("of a stream").on(stream("a")).opening(2),
        TestEvent::new("two").opening(2),
        TestEvent::new("three").opening(3),
    ];
    handle.put(&mut model, &opening)?;
    if handle.open_global_events()?.is_empty() {
        // This store returns no open events that belong to every stream. New readers then get only those that the log
        // appended itself.
        return Ok(());
    }
    let check = |handle: &Handle, model: &Model| {
        let mut expected = model.open();
        expected.retain(|event| event.key.is_none());
        same_events(
            "read_open_global_events() returns the open events that belong to every stream, with pins, oldest first",
            &expected,
            &handle.open_global_events()?,
        )
    };
    check(&handle, &model)?;
    filler(&mut handle, &mut model)?;
    check(&handle, &model)?;
    handle.put(&mut model, &[TestEvent::new("").closing(2)])?;
    check(&handle, &model)?;
    handle.put(&mut model, &[TestEvent::new("again").opening(1)])?;
    check(&handle, &model)?;
    handle.put(
        &mut model,
        &[TestEvent::new("").closing(3), TestEvent::new("").closing(1)],
    )?;
    handle.put(&mut model, &mixed(1..=10))?;
    check(&handle, &model)
}
