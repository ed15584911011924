//! Checks of retention: which events are evicted, when, and which events and gaps readers get.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use livespan::{
    Retention,
    store::{StoredEvent, StreamKey},
};

use crate::{
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Scope, is_kept},
    report::{self, Outcome, Violation, holds, same},
    test_event::{TestEvent, mixed, stream},
};

pub(crate) fn retains_by_events(context: &CheckContext<'_>) -> Outcome {
    for max in [1, 100] {
        let location = context.location_with(Retention::default().events(max))?;
        let mut handle = context.open(&location)?;
        let mut model = Model::default();
        for batch in 0..100 {
            handle.put(&mut model, &mixed(batch * 20..=batch * 20 + 19))?;
            let kept = kept(&handle)?;
            let appended = usize::try_from(model.head()).unwrap_or(usize::MAX);
            let least = max.min(appended).div_ceil(2);
            holds(
                kept.len() >= least,
                format!("retention of {max} events evicts no event too early"),
                format!("at least {least} events"),
                format!("{}, {} to {}", kept.len(), handle.oldest(), handle.head()),
            )?;
            handle.check(&model, &Scope::All, 0, ANY)?;
        }
        let most = context.most_events(max);
        let bound = format!("at most {most} events");
        settle(&mut handle, &mut model, &bound, |handle, _| {
            Ok(kept(handle)?.len() <= most)
        })?;
        read_around_oldest(&handle, &model)?;
    }
    open_streams_count(context)
}

/// Checks that events of streams with open events count towards the bound, except for the opening events.
fn open_streams_count(context: &CheckContext<'_>) -> Outcome {
    const MAX: usize = 100;
    let location = context.location_with(Retention::default().events(MAX))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for batch in 0..40_u64 {
        let key = stream(format!("open {}", batch % 8));
        let mut events = vec![TestEvent::new("start").on(key).opening(batch)];
        events.extend(vec![TestEvent::new("on").on(key); 9]);
        handle.put(&mut model, &events)?;
    }
    let most = context.most_events(MAX) + model.open().len();
    let bound = format!("at most {most} events, opening events among them");
    settle(&mut handle, &mut model, &bound, |handle, _| {
        Ok(kept(handle)?.len() <= most)
    })?;
    handle.check(&model, &Scope::All, 0, ANY)
}

pub(crate) fn retains_by_bytes(context: &CheckContext<'_>) -> Outcome {
    const MAX: usize = 512 * 1024;
    const PAYLOAD: usize = 4096;
    let location = context.location_with(Retention::default().bytes(MAX))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let payload = |byte| TestEvent::new(vec![byte; PAYLOAD]).on(stream("a"));
    for byte in b'a'..=b'z' {
        handle.put(&mut model, &vec![payload(byte); 20])?;
        let kept = kept_bytes(&handle)?;
        let least = (MAX / 4).min(PAYLOAD * 20);
        holds(
            kept >= least,
            format!("retention of {MAX} bytes evicts no event too early"),
            format!("at least {least} payload bytes"),
            kept.to_string(),
        )?;
    }
    let most = context.most_bytes(MAX);
    let bound = format!("at most {most} payload bytes");
    settle(&mut handle, &mut model, &bound, |handle, _| {
        Ok(kept_bytes(handle)? <= most)
    })?;
    read_around_oldest(&handle, &model)?;

    let location = context.location_with(Retention::default().bytes(PAYLOAD))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for byte in b'a'..=b'd' {
        let large = TestEvent::new(vec![byte; 16 * PAYLOAD]);
        let newest = handle.put(&mut model, &[large])?;
        holds(
            handle.oldest() <= newest,
            "the newest event is kept even if it is larger than retention allows",
            format!("oldest() of at most {newest}"),
            handle.oldest().to_string(),
        )?;
        handle.check(&model, &Scope::All, newest - 1, ANY)?;
    }
    Ok(())
}

pub(crate) fn retains_by_age(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().age(Duration::from_millis(1)))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let last = handle.put(&mut model, &mixed(1..=30))? + 29;
    let bound = format!("oldest() after {last}, because the events up to {last} are too old");
    settle(&mut handle, &mut model, &bound, |handle, _| {
        Ok(handle.oldest() > last)
    })?;
    read_around_oldest(&handle, &model)?;

    let location = context.location_with(Retention::default().age(Duration::from_secs(3600)))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    for _ in 0..50 {
        handle.put(&mut model, &mixed(1..=5))?;
    }
    same("events younger than an hour are kept", &1, &handle.oldest())?;
    handle.check(&model, &Scope::All, 0, ANY)
}

pub(crate) fn counts_evicted_events(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(60))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let (a, b) = (stream("a"), stream("b"));
    same(
        "evicted() of a stream without events is 0 or unknown",
        &0,
        &evicted_count(&handle, stream("nobody"))?.unwrap_or_default(),
    )?;
    let first = [
        TestEvent::new("first").on(a).opening(1),
        TestEvent::new("second").on(a).opening(2),
    ];
    handle.put(&mut model, &first)?;
    for batch in 0..60_u64 {
        let mut events = vec![TestEvent::new("").on(a), TestEvent::new("everywhere")];
        events.extend((0..8).map(|_| TestEvent::new(batch.to_string()).on(b)));
        handle.put(&mut model, &events)?;
        if batch == 40 {
            handle.put(&mut model, &[TestEvent::new("over").on(a).closing(2)])?;
        }
        for key in [a, b] {
            counts_exactly(&handle, &model, key)?;
        }
    }
    Ok(())
}

fn evicted_count(handle: &Handle, key: StreamKey) -> Outcome<Option<u64>> {
    let evicted = handle.evicted(&[key])?.pop().flatten();
    Ok(evicted.map(|evicted| evicted.events))
}

/// Checks that the count of `evicted()`, if known, is at least the number of unreadable events just before the call,
/// and at most their number just after it. These numbers may differ, because a store may evict at any time.
pub(crate) fn counts_exactly(handle: &Handle, model: &Model, key: StreamKey) -> Outcome {
    let of_stream = |events: Vec<StoredEvent>| {
        let own = events.iter().filter(|event| event.key == Some(key));
        own.count() as u64
    };
    let scope = streams(&[key]);
    let appended = of_stream(model.events(1..=model.head(), &scope));
    let before = appended - of_stream(handle.read(&scope, 0, ANY)?);
    let reported = evicted_count(handle, key)?;
    let after = appended - of_stream(handle.read(&scope, 0, ANY)?);
    holds(
        reported.is_none_or(|reported| (before..=after).contains(&reported)),
        format!(
            "evicted() counts the events of {} that can no longer be read",
            scope.show()
        ),
        format!("{before} to {after}, or unknown"),
        format!("{reported:?}"),
    )
}

/// Appends until the condition holds or the timeout passes. A store may evict with a later append or on its own.
fn settle(
    handle: &mut Handle,
    model: &mut Model,
    bound: &str,
    condition: impl Fn(&Handle, &Model) -> Outcome<bool>,
) -> Outcome {
    let settled = Handle::until(handle.timeout, || {
        if condition(handle, model)? {
            return Ok(Some(()));
        }
        handle.recover_open_events()?;
        handle.put(model, &[TestEvent::new("later")])?;
        Ok(None)
    })?;
    if settled.is_some() {
        return Ok(());
    }
    let (events, bytes) = (kept(handle)?.len(), kept_bytes(handle)?);
    Err(Violation::new(
        "retention evicts old events",
        bound,
        format!(
            "{events} events, {} to {}, {bytes} payload bytes",
            handle.oldest(),
            handle.head()
        ),
    ))
}

/// Returns all events that can be read, including those before `oldest()`.
fn kept(handle: &Handle) -> Outcome<Vec<StoredEvent>> {
    handle.read(&Scope::All, 0, ANY)
}

fn kept_bytes(handle: &Handle) -> Outcome<usize> {
    Ok(kept(handle)?.iter().map(|event| event.payload.len()).sum())
}

fn read_around_oldest(handle: &Handle, model: &Model) -> Outcome {
    let oldest = handle.oldest();
    let places = [
        0,
        1,
        oldest.saturating_sub(2),
        oldest - 1,
        oldest,
        model.head() - 1,
        model.head(),
    ];
    for scope in [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
    ] {
        for after in places {
            for events in [1, 7, usize::MAX] {
                handle.check(model, &scope, after, ANY.events(events))?;
            }
        }
    }
    Ok(())
}

/// One page, and the bounds of the log before and after the read.
struct Page {
    after: u64,
    /// The last sequence that could be read when the page was requested.
    visible: u64,
    came: Vec<StoredEvent>,
    /// The `oldest()` of the store after the read.
    oldest: u64,
}

pub(crate) fn trims_under_readers(context: &CheckContext<'_>) -> Outcome {
    let location = context.location_with(Retention::default().events(50))?;
    let mut handle = context.open(&location)?;
    let mut model = Model::default();
    let opening = [
        TestEvent::new("open").on(stream("a")).opening(1),
        TestEvent::new("open everywhere").opening(2),
    ];
    handle.put(&mut model, &opening)?;
    // Reads four pages in each scope. After each page, it appends more events than retention allows.
    for scope in scopes() {
        let mut after = 0;
        for round in 0..4 {
            let page = read_page(&handle, &scope, after, handle.head())?;
            check_page(&model, &scope, &page)?;
            after = page.came.last().map_or(after, |event| event.sequence.get());
            handle.put(&mut model, &mixed(round * 200..=round * 200 + 199))?;
        }
    }
    let pages = beside_a_writer(&mut handle, &mut model)?;
    for (scope, pages) in scopes().iter().zip(pages) {
        for page in &pages {
            check_page(&model, scope, page)?;
        }
    }
    Ok(())
}

fn scopes() -> [Scope; 3] {
    [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
    ]
}

/// Reads small pages on several threads while the log grows and retention runs.
fn beside_a_writer(handle: &mut Handle, model: &mut Model) -> Outcome<Vec<Vec<Page>>> {
    let visible = AtomicU64::new(handle.head());
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let readers: Vec<_> = scopes()
            .into_iter()
            .map(|scope| {
                let reader = handle.share("reader");
                let (visible, done) = (&visible, &done);
                threads.spawn(move || read_pages(&reader, &scope, visible, done))
            })
            .collect();
        let mut written = Ok(());
        for batch in 0..150_u64 {
            let first = batch * 20;
            match handle.put(model, &mixed(first..=first + batch % 20)) {
                Ok(_) => visible.store(handle.head(), Ordering::Release),
                Err(violation) => written = Err(violation),
            }
        }
        done.store(true, Ordering::Release);
        let pages = readers.into_iter().map(join).collect::<Outcome<_>>()?;
        written.map(|()| pages)
    })
}

fn read_pages(
    reader: &Handle,
    scope: &Scope,
    visible: &AtomicU64,
    done: &AtomicBool,
) -> Outcome<Vec<Page>> {
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        // Loaded before the page is read. If it were loaded afterwards, the reader could miss events that the writer
        // appended in between.
        let over = done.load(Ordering::Acquire);
        let page = read_page(reader, scope, after, visible.load(Ordering::Acquire))?;
        let end = page.came.is_empty();
        after = page.came.last().map_or(after, |event| event.sequence.get());
        pages.push(page);
        if end && over {
            return Ok(pages);
        }
    }
}

fn read_page(reader: &Handle, scope: &Scope, after: u64, visible: u64) -> Outcome<Page> {
    let limit = ANY.events(7);
    let came = reader.page(scope, after, limit)?;
    Ok(Page {
        after,
        visible,
        came,
        oldest: reader.oldest(),
    })
}

/// Checks that every event of the page is whole, and that every missing event lies before `oldest()` and is not open.
fn check_page(model: &Model, scope: &Scope, page: &Page) -> Outcome {
    let asked = format!(
        "a page of {} after {}, when everything up to {} could be read, with oldest() at {} afterwards",
        scope.show(),
        page.after,
        page.visible,
        page.oldest
    );
    for event in &page.came {
        let whole = model
            .event(event.sequence.get())
            .is_some_and(|appended| is_kept(appended, event));
        let expected = model.event(event.sequence.get()).map(report::event);
        let promise = format!("{asked}: every event is whole");
        holds(
            whole,
            promise,
            format!("{expected:?}"),
            report::event(event),
        )?;
    }
    let upto = page
        .came
        .last()
        .map_or(page.visible, |event| event.sequence.get());
    let open: Vec<u64> = model
        .open()
        .iter()
        .map(|event| event.sequence.get())
        .collect();
    let missing = model
        .events(page.after + 1..=upto.max(page.after), scope)
        .into_iter()
        .filter(|event| !page.came.iter().any(|came| came.sequence == event.sequence))
        .find(|event| {
            let sequence = event.sequence.get();
            sequence >= page.oldest || open.contains(&sequence)
        });
    let Some(missing) = missing else {
        return Ok(());
    };
    Err(Violation::new(
        format!("{asked}: every missing event lies before oldest() and is not open"),
        report::event(&missing),
        report::events(&page.came, 0),
    ))
}

/// Returns the result of a thread; if the thread panicked, the panic continues here.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, Outcome<T>>) -> Outcome<T> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
