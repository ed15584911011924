//! Checks of shared logs: several handles append to one log, and a reader waits for events that another handle appends.

use std::{
    sync::mpsc,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use livespan::store::{Sequence, StoredEvent, StreamKey};

use super::retention::join;
use crate::{
    context::CheckContext,
    handle::{ANY, Handle, streams},
    model::{Model, Read, Scope, Writer},
    report::{self, Outcome, Violation, holds, same},
    test_event::{TestEvent, mixed, stream},
};

const WRITERS: u64 = 3;
const BATCHES: u64 = 40;

/// The newest sequence of each stream with new events. `None` stands for events that belong to every stream.
type News = Vec<(Option<StreamKey>, u64)>;

pub(crate) fn shares_one_log(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut handles = (0..WRITERS)
        .map(|writer| context.open_as(&location, &format!("writer {writer}")))
        .collect::<Outcome<Vec<Handle>>>()?;
    let written = thread::scope(|threads| {
        let writers: Vec<_> = handles
            .iter_mut()
            .zip(0..)
            .map(|(handle, writer)| threads.spawn(move || write(handle, writer)))
            .collect();
        writers.into_iter().map(join).collect::<Outcome<Vec<_>>>()
    })?;
    let mut model = Model::default();
    for (writer, first, test_events) in written.into_iter().flatten() {
        let taken = model.events(first..=first + test_events.len() as u64 - 1, &Scope::All);
        same("no number is used twice", &Vec::new(), &taken)?;
        model.append(writer, first, &test_events);
    }
    let count = model.events(1..=u64::MAX, &Scope::All).len() as u64;
    same("numbers have no holes", &count, &model.head())?;
    let epochs = handles.first().map(Handle::epochs).unwrap_or_default();
    for handle in &handles {
        same(
            "all handles are in the same epochs",
            &epochs,
            &handle.epochs(),
        )?;
        for scope in [
            Scope::All,
            streams(&[stream("a")]),
            streams(&[stream("b"), stream("c")]),
        ] {
            let read = Read {
                scope: &scope,
                after: 0,
                upto: model.head(),
                oldest: (1, 1),
            };
            let came = handle.read(&scope, 0, ANY.events(64))?;
            model.check(&read, &came)?;
        }
    }
    Ok(())
}

/// Appends batches. Returns each batch with its writer and its first sequence.
fn write(handle: &mut Handle, writer: u64) -> Outcome<Vec<(Writer, u64, Vec<TestEvent>)>> {
    (0..BATCHES)
        .map(|batch| {
            let from = writer * 1000 + batch * 20;
            let test_events = mixed(from..=from + (batch + writer) % 17);
            Ok((handle.writer(), handle.append(&test_events)?, test_events))
        })
        .collect()
}

pub(crate) fn wakes_followers(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut writer = context.open_as(&location, "writer")?;
    let reader = context.open_follower(&location, "reader")?;
    let mut model = Model::default();
    same(
        "all handles are in the same epochs",
        &writer.epochs(),
        &reader.epochs(),
    )?;
    for batch in 0..20 {
        let after = model.head();
        let test_events = mixed(1..=1 + batch % 4);
        let begun = Instant::now();
        let came = thread::scope(|threads| {
            let waiting = begun_on(threads, || wait(&reader, after, reader.timeout));
            let first = writer.put(&mut model, &test_events);
            let came = join(waiting)?;
            first.map(|_| came)
        })?;
        holds(
            !came.is_empty() && begun.elapsed() < reader.timeout,
            "wait_after() ends when another handle appends",
            format!("events after {after}, before the timeout"),
            format!("{} after {:?}", report::events(&came, 0), begun.elapsed()),
        )?;
        check_after(&model, after, &came)?;
        same(
            "head() is the newest sequence",
            &model.head(),
            &head(&reader)?,
        )?;
    }
    for after in 0..model.head() {
        let came = wait(&reader, after, reader.timeout)?;
        holds(
            !came.is_empty(),
            "wait_after() returns at once if there are events already",
            "events",
            "none",
        )?;
        check_after(&model, after, &came)?;
    }
    let one = reader
        .shared_log()?
        .wait_after(Sequence::START, ANY.events(1), reader.timeout)
        .map_err(|error| Violation::error("wait_after()", &error))?;
    same(
        "wait_after() returns no more than its limit",
        &1,
        &one.len(),
    )?;
    for scope in [
        Scope::All,
        streams(&[stream("a")]),
        streams(&[stream("b"), stream("c")]),
    ] {
        reader.check(&model, &scope, 0, ANY.events(7))?;
    }
    ends_without_news(&reader, model.head())
}

/// Starts a wait on another thread. The wait has usually, but not always, begun when this returns. The store must
/// behave correctly in either case.
fn begun_on<'scope, T: Send + 'scope>(
    threads: &'scope thread::Scope<'scope, '_>,
    wait: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    let (waits_for_a_processor, runs) = mpsc::channel::<()>();
    let thread = threads.spawn(move || {
        drop(waits_for_a_processor);
        wait()
    });
    // Waits until the thread runs. On a busy machine, that may take a while.
    let _is_over = runs.recv();
    for _ in 0..100 {
        thread::yield_now();
    }
    thread
}

fn wait(reader: &Handle, after: u64, timeout: Duration) -> Outcome<Vec<StoredEvent>> {
    reader
        .shared_log()?
        .wait_after(Sequence::new(after), ANY, timeout)
        .map_err(|error| Violation::error("wait_after()", &error))
}

fn head(reader: &Handle) -> Outcome<u64> {
    let head = reader.head_in_store()?;
    Ok(head.get())
}

fn check_after(model: &Model, after: u64, came: &[StoredEvent]) -> Outcome {
    let read = Read {
        scope: &Scope::All,
        after,
        upto: came.last().map_or(after, |event| event.sequence.get()),
        oldest: (1, 1),
    };
    model.check(&read, came)
}

fn ends_without_news(reader: &Handle, head: u64) -> Outcome {
    let came = wait(reader, head, Duration::from_millis(1))?;
    same("a wait ends at its timeout", &Vec::new(), &came)?;
    for waiting in ["the next wait", "the wait that goes on"] {
        let begun = Instant::now();
        let follow = reader.shared_log()?;
        let came = thread::scope(|threads| {
            if waiting == "the next wait" {
                follow.interrupt();
            }
            let thread = begun_on(threads, || wait(reader, head, reader.timeout));
            if waiting != "the next wait" {
                follow.interrupt();
            }
            join(thread)
        })?;
        same("an interrupted wait finds nothing", &Vec::new(), &came)?;
        holds(
            begun.elapsed() < reader.timeout,
            format!("interrupt() ends {waiting}"),
            "an end at once",
            format!("the wait took the whole timeout of {:?}", reader.timeout),
        )?;
    }
    Ok(())
}

pub(crate) fn wakes_followers_of_streams(context: &CheckContext<'_>) -> Outcome {
    let location = context.location()?;
    let mut writer = context.open_as(&location, "writer")?;
    let reader = context.open_follower(&location, "reader")?;
    let (a, b, c) = (stream("a"), stream("b"), stream("c"));
    let on = |key: StreamKey| TestEvent::new("news").on(key);
    writer.append(&[on(a), on(b), on(c), TestEvent::new("everywhere")])?;
    let head = writer.head();
    let place_of = |key| (key, Sequence::new(head));
    let places = [place_of(a), place_of(b)];

    let cases: [(&[TestEvent], News); 4] = [
        (&[on(a)], vec![(Some(a), 1)]),
        (&[on(c), on(b), on(c)], vec![(Some(b), 2)]),
        (&[TestEvent::new("everywhere")], vec![(None, 1)]),
        (
            &[on(b), on(a), TestEvent::new("everywhere"), on(a), on(c)],
            vec![(None, 3), (Some(a), 4), (Some(b), 1)],
        ),
    ];
    let mut places = places;
    let mut every = Sequence::new(head);
    for (test_events, news) in &cases {
        let before = writer.head();
        let mut left: News = news
            .iter()
            .map(|(key, place)| (*key, before + place))
            .collect();
        let mut first = Some(test_events);
        while !left.is_empty() {
            let came = thread::scope(|threads| {
                let waiting = begun_on(threads, || {
                    wait_streams(&reader, &places, every, reader.timeout)
                });
                let appended = first
                    .take()
                    .map_or(Ok(0), |test_events| writer.append(test_events));
                let came = join(waiting)?;
                appended.map(|_| came)
            })?;
            holds(
                !came.is_empty() && came.iter().all(|one| left.contains(one)),
                "a wait returns streams with news and the newest sequence of each; some streams may be reported later",
                format!("some of {left:?}"),
                format!("{came:?}"),
            )?;
            left.retain(|one| !came.contains(one));
            move_on(&came, &mut places, &mut every);
        }
    }
    writer.append(&[on(c)])?;
    let none = wait_streams(&reader, &places, every, Duration::from_millis(1))?;
    same("other streams are not reported", &Vec::new(), &none)?;
    let begun = Instant::now();
    reader.shared_log()?.interrupt();
    let none = wait_streams(&reader, &places, every, reader.timeout)?;
    same("an interrupted wait finds nothing", &Vec::new(), &none)?;
    holds(
        begun.elapsed() < reader.timeout,
        "interrupt() ends the next wait",
        "an end at once",
        format!("the wait took the whole timeout of {:?}", reader.timeout),
    )
}

/// Moves the positions to the sequences that a wait reported.
fn move_on(
    came: &[(Option<StreamKey>, u64)],
    places: &mut [(StreamKey, Sequence)],
    every: &mut Sequence,
) {
    for (key, newest) in came {
        match key {
            None => *every = Sequence::new(*newest),
            Some(key) => places
                .iter_mut()
                .filter(|(of, _)| of == key)
                .for_each(|(_, place)| *place = Sequence::new(*newest)),
        }
    }
}

/// Returns the streams with new events, sorted: first `None` (every stream), then by key.
fn wait_streams(
    reader: &Handle,
    places: &[(StreamKey, Sequence)],
    every: Sequence,
    timeout: Duration,
) -> Outcome<News> {
    let news = reader
        .shared_log()?
        .wait_streams(places, every, timeout)
        .map_err(|error| Violation::error("wait_streams()", &error))?;
    let mut news: News = news
        .into_iter()
        .map(|(key, newest)| (key, newest.get()))
        .collect();
    news.sort_by_key(|(key, _)| key.map(|key| key.as_bytes().to_vec()));
    Ok(news)
}
