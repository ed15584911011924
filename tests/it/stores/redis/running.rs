//! The carried events of a stream (kept beyond retention because the stream is open, or kept on request): when its
//! process dies, when it ends, when it becomes too large, and when another program deletes its key.

use std::time::Duration;

use livespan::{
    EventStore as _, Retention,
    sse::{Pinning, Sequence},
    store::{Batch, OpenEventRecovery as _},
};

use super::{
    handle::{Draft, Handle, key, note},
    server::Server,
};
use crate::support::{block_on, until};

const HOUR: Duration = Duration::from_secs(3600);

fn keeping(server: &Server, retention: Retention) -> Handle {
    Handle::open_with(&server.url(), |builder| {
        builder
            .retention(retention)
            .heartbeat(HOUR)
            .dead_after(HOUR * 2)
    })
}

/// Appends `count` events of a stream that is never open, ten in a batch.
fn fill(handle: &Handle, count: usize) {
    for _ in 0..count / 10 {
        let stream = "other";
        let batch: Vec<Draft<'_>> = (0..10).map(|_| note(stream, "x")).collect();
        handle.append(&batch);
    }
}

fn evicted(handle: &Handle, stream: &str) -> Option<u64> {
    let evicted = block_on(handle.0.evicted(&[key(stream)])).unwrap();
    evicted[0].map(|evicted| evicted.events)
}

fn readable(handle: &Handle, stream: &str) -> Vec<u64> {
    let events = handle.read_stream(stream, 0);
    events.iter().map(|event| event.sequence.get()).collect()
}

fn carried(server: &Server) -> u64 {
    server.command(&["ZCARD", "{livespan}:carried"])
}

#[test]
fn a_dead_processs_stream_is_removed_after_another_process_has_ended_it() {
    let server = Server::start();
    let retention = Retention::default().events(40);
    let dying = keeping(&server, retention);
    dying.append(&[("dead", Pinning::Open(1), b"start"), note("dead", "on")]);
    let heir = keeping(&server, retention);
    let own: Vec<Draft<'_>> = (0..6).map(|_| note("own", "on")).collect();
    heir.append(&[("own", Pinning::Open(1), b"start")]);
    heir.append(&own);
    fill(&heir, 60);
    assert_eq!(readable(&heir, "dead"), [1, 2]);
    assert_eq!(evicted(&heir, "dead"), Some(0));
    // A closing store unregisters its process, so another process may end the spans at once.
    drop(dying);
    until(|| {
        let recovered = heir.0.recover_open_events().unwrap();
        recovered.abandoned.len() == 1
    });
    let lost = heir.append(&[("dead", Pinning::Close(1), b"lost")]);
    assert_eq!(readable(&heir, "dead"), [1, 2, lost]);
    fill(&heir, 60);
    assert_eq!(readable(&heir, "dead"), [1, 2, lost]);
    // The share of 10 events is used up. The open stream is kept, and the ended one is removed.
    heir.append(&[note("own", "later")]);
    fill(&heir, 60);
    assert_eq!(readable(&heir, "dead"), Vec::<u64>::new());
    assert_eq!(readable(&heir, "own").len(), 8);
    assert_eq!(evicted(&heir, "own"), Some(0));
    let keys: Vec<String> = server.command(&["KEYS", "{livespan}:s:dead"]);
    assert_eq!(keys, Vec::<String>::new());
}

#[test]
fn age_removes_an_ended_stream_but_no_open_one() {
    let server = Server::start();
    let young = keeping(&server, Retention::default().events(40).age(HOUR));
    young.append(&[
        ("open", Pinning::Open(1), b"start"),
        ("ended", Pinning::Open(1), b"start"),
    ]);
    fill(&young, 60);
    let end = young.append(&[("ended", Pinning::Close(1), b"end")]);
    fill(&young, 60);
    assert_eq!(readable(&young, "ended"), [2, end]);
    assert_eq!(carried(&server), 3);
    let strict = keeping(&server, Retention::default().events(40).age(Duration::ZERO));
    until(|| {
        strict.0.recover_open_events().unwrap();
        carried(&server) == 1
    });
    assert_eq!(readable(&strict, "ended"), Vec::<u64>::new());
    assert_eq!(readable(&strict, "open"), [1]);
    let ttl: i64 = server.command(&["PTTL", "{livespan}:s:open"]);
    assert!(ttl > 1_000_000_000_000, "{ttl}");
}

#[test]
fn carried_bytes_count_towards_the_bound_and_the_largest_stream_loses_them_first() {
    let server = Server::start();
    // An event with a payload of 160 bytes counts as 204 bytes. A quarter of the bound is for carried events, which
    // is room for 10 such events.
    let bytes = 204 * 40;
    let handle = keeping(&server, Retention::default().bytes(bytes));
    let payload = "x".repeat(160);
    let draft = |stream, pin| -> Draft<'_> { (stream, pin, payload.as_bytes()) };
    let mut begun = vec![draft("small", Pinning::Open(1))];
    begun.extend([draft("small", Pinning::None); 3]);
    begun.push(draft("large", Pinning::Open(1)));
    begun.extend([draft("large", Pinning::None); 4]);
    handle.append(&begun);
    for _ in 0..60 {
        handle.append(&[draft("other", Pinning::None)]);
        let held: usize = handle.read(0).len();
        assert!(held <= 40, "{held}");
    }
    assert_eq!(readable(&handle, "large"), [5, 6, 7, 8, 9]);
    handle.append(&[draft("large", Pinning::None); 2]);
    for _ in 0..60 {
        handle.append(&[draft("other", Pinning::None)]);
    }
    assert_eq!(readable(&handle, "small"), [1, 2, 3, 4]);
    assert_eq!(readable(&handle, "large"), [5]);
    assert_eq!(evicted(&handle, "large"), Some(6));
}

#[test]
fn a_carried_stream_whose_key_is_deleted_frees_its_share() {
    let server = Server::start();
    let handle = keeping(&server, Retention::default().events(40));
    handle.append(&[
        ("gone", Pinning::Open(1), b"start"),
        note("gone", "2"),
        note("gone", "3"),
        ("cut", Pinning::Open(1), b"start"),
        note("cut", "5"),
        note("cut", "6"),
    ]);
    fill(&handle, 60);
    assert_eq!(carried(&server), 6);
    server.command::<u64>(&["DEL", "{livespan}:s:gone"]);
    server.command::<u64>(&["XDEL", "{livespan}:s:cut", "5-0"]);
    assert_eq!(evicted(&handle, "gone"), None);
    assert_eq!(evicted(&handle, "cut"), None);
    let before: Vec<u64> = handle
        .read(0)
        .iter()
        .take(2)
        .map(|event| event.sequence.get())
        .collect();
    assert_eq!(
        before,
        [1, 4],
        "not exactly the two opening events come first"
    );
    let end = handle.append(&[
        ("gone", Pinning::Close(1), b"end"),
        ("cut", Pinning::Close(1), b"end"),
    ]);
    let fitting: Vec<Draft<'_>> = (0..9).map(|_| note("new", "on")).collect();
    handle.append(&[("new", Pinning::Open(1), b"start")]);
    handle.append(&fitting);
    fill(&handle, 60);
    // The share of 10 events has room for the new stream, because the two ended streams were removed.
    assert_eq!(
        readable(&handle, "new"),
        (end + 2..end + 12).collect::<Vec<u64>>()
    );
    assert_eq!(carried(&server), 10);
    for stream in ["gone", "cut"] {
        assert_eq!(readable(&handle, stream), Vec::<u64>::new());
        assert_eq!(evicted(&handle, stream), Some(0), "{stream}");
    }
}

#[test]
fn a_stream_too_large_for_one_call_is_carried_and_removed_in_steps() {
    const MAX: usize = 40_000;
    let server = Server::start();
    let handle = keeping(&server, Retention::default().events(MAX));
    let append = |stream: &str, events: usize, pin| {
        let mut batch = Batch::default();
        for _ in 0..events {
            batch.add("note", Some(key(stream)), pin, b"x");
        }
        handle.0.append(Sequence::START, &batch).unwrap();
    };
    append("one", 1, Pinning::Open(1));
    append("one", 5_999, Pinning::None);
    append("two", 1, Pinning::Open(1));
    append("two", 3_999, Pinning::None);
    append("other", 29_000, Pinning::None);
    // There are more events beyond retention than one call moves: 2,048 events, and four for each event of the batch.
    let carries = |stream: &str| -> Option<u64> {
        server.command(&["HGET", "{livespan}:carried:events", stream])
    };
    let held = || {
        let log: u64 = server.command(&["XLEN", "{livespan}:log"]);
        log + carried(&server)
    };
    let mut calls = 0;
    let mut before = carried(&server);
    while held() > MAX as u64 || before < 10_000 {
        append("other", 100, Pinning::None);
        calls += 1;
        assert!(calls < 400, "{} events, {before} carried", held());
        let after = carried(&server);
        assert!(after <= before + 2_448, "{before} to {after}");
        before = after;
    }
    assert_eq!((carries("one"), carries("two")), (Some(6_000), Some(4_000)));
    // The two streams together exceed the share of 10,000 events, so the larger one is removed, in steps.
    append("two", 100, Pinning::None);
    calls = 0;
    while carries("one").is_some() || held() > MAX as u64 {
        append("other", 100, Pinning::None);
        calls += 1;
        assert!(calls < 400, "{} events, {before} carried", held());
        let after = carried(&server);
        assert!(after + 2_448 >= before, "{before} to {after}");
        before = after;
    }
    let all = block_on(handle.0.read_streams_after(
        &[key("one"), key("two")],
        Sequence::START,
        livespan::store::PageLimit::UNBOUNDED,
    ));
    let all = all.unwrap();
    let own = |stream| {
        all.iter()
            .filter(|event| event.key == Some(key(stream)))
            .count()
    };
    assert_eq!((own("one"), own("two")), (1, 4_100));
    assert_eq!(
        (evicted(&handle, "one"), evicted(&handle, "two")),
        (Some(5_999), Some(0))
    );
}

#[test]
fn a_stream_that_one_process_keeps_is_kept_for_all() {
    let server = Server::start();
    let open = || {
        let retention = Retention::default().events(80);
        Handle::open_with(&server.url(), |builder| builder.retention(retention))
    };
    let (one, other) = (open(), open());
    let kept = |handle: &Handle| handle.0.kept_streams().unwrap().kept();
    one.append(&[note("kept", "1"), note("kept", "2")]);
    one.0.kept_streams().unwrap().keep(&key("kept")).unwrap();
    assert_eq!(kept(&one), [key("kept")]);
    // The other process learns of it with its next heartbeat.
    until(|| kept(&other) == [key("kept")]);
    fill(&other, 200);
    assert_eq!(readable(&other, "kept"), [1, 2]);
    assert_eq!(kept(&open()), [key("kept")]);
    assert!(
        other
            .0
            .kept_streams()
            .unwrap()
            .stop_keeping(&key("kept"))
            .unwrap()
    );
    until(|| kept(&one).is_empty());
    other.append(&[("open", Pinning::Open(1), b"start")]);
    let fitting: Vec<Draft<'_>> = (0..19).map(|_| note("open", "on")).collect();
    other.append(&fitting);
    fill(&one, 200);
    assert_eq!(readable(&one, "kept"), Vec::<u64>::new());
    assert_eq!(readable(&one, "open").len(), 20);
}

/// A replayed workflow appends the events of its earlier steps again. While its trace is carried, the log has them.
#[test]
fn a_repetition_of_a_carried_event_is_left_out() {
    let server = Server::start();
    let handle = keeping(&server, Retention::default().events(40));
    let append = |events: &[(u64, bool)]| {
        let mut batch = Batch::default();
        for (token, opens) in events {
            let pin = if *opens {
                Pinning::Open(*token)
            } else {
                Pinning::Close(*token)
            };
            batch.add_deduplicated("note", key("workflow"), pin, b"x");
        }
        handle.0.append(Sequence::START, &batch).unwrap().duplicates
    };
    let step = [(1, true), (2, true), (2, false)];
    assert_eq!(append(&step), Vec::<usize>::new());
    fill(&handle, 60);
    assert_eq!(readable(&handle, "workflow"), [1, 2, 3]);
    assert_eq!(append(&step), [0, 1, 2]);
    append(&[(1, false)]);
    fill(&handle, 60);
    assert_eq!(append(&step), [0, 1, 2]);
    // Now the workflow has ended, and its events were removed.
    handle.append(&[("open", Pinning::Open(1), b"start")]);
    let fitting: Vec<Draft<'_>> = (0..9).map(|_| note("open", "on")).collect();
    handle.append(&fitting);
    fill(&handle, 60);
    assert_eq!(readable(&handle, "workflow"), Vec::<u64>::new());
    assert_eq!(append(&step), Vec::<usize>::new());
}
