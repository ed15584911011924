//! Retention bounds events, bytes and age, and the file shrinks again.

use std::{fs, time::Duration};

use livespan::{EventStore as _, Retention, SqliteEventStore, sse::Sequence};

use super::log::{ANY, Folder, Log, keeping};
use crate::support::until;

fn size(folder: &Folder) -> u64 {
    fs::metadata(folder.file()).unwrap().len()
}

#[test]
fn the_newest_events_are_kept() {
    let folder = Folder::new();
    let mut log = folder.keeping(3);
    assert_eq!(log.oldest(), 1);
    log.put(&["a . 1", "a . 2", "a . 3"]);
    assert_eq!((log.oldest(), log.all().len()), (1, 3));
    log.put(&["a . 4", "b . 5"]);
    assert_eq!(log.all(), ["3 a . 3", "4 a . 4", "5 b . 5"]);
    assert_eq!(log.of(&["b"], 0), ["5 b . 5"]);
    assert_eq!(log.oldest(), 3);
}

#[test]
fn a_large_bound_is_kept_with_a_64th_of_slack() {
    let folder = Folder::new();
    let mut log = folder.keeping(6_400);
    for _ in 0..100 {
        log.fill(100);
        let kept = log.all().len();
        let head = log.store.read_after(Sequence::START, ANY);
        drop(head);
        assert!(kept <= 6_400);
    }
    assert!(log.all().len() >= 6_300);
}

#[test]
fn bytes_are_counted_as_frames_and_the_newest_event_is_kept_though_too_large() {
    let folder = Folder::new();
    let bytes = |bytes| {
        let retention = SqliteEventStore::default_retention().bytes(bytes);
        Log::open(folder.store().retention(retention))
    };
    let mut log = bytes(10_000);
    let payload = "x".repeat(960);
    for _ in 0..30 {
        log.put(&[&format!("* . {payload}")]);
    }
    // Each event counts as 1,004 bytes: 960 of payload, four of `note`, and 40. Nine fit. A 64th of
    // the bound stays free for later ones.
    assert!((8..=9).contains(&log.all().len()), "{}", log.all().len());
    let large = "x".repeat(200_000);
    log.put(&[&format!("* . {large}")]);
    assert_eq!(log.oldest(), 31);
    assert_eq!(log.all().len(), 1);
    log.put(&["* . small"]);
    assert_eq!(log.all(), ["32 * . small"]);
}

#[test]
fn events_that_are_too_old_are_removed_without_further_appends() {
    let folder = Folder::new();
    let age = |age| {
        let retention = SqliteEventStore::default_retention().age(age);
        Log::open(folder.store().retention(retention))
    };
    let mut log = age(Duration::from_millis(20));
    log.put(&["a . 1", "b +1 open", "a . 3"]);
    until(|| log.oldest() == 4);
    assert_eq!(log.all(), ["2 b +1 open"]);
    drop(log);
    let mut log = age(Duration::from_secs(3_600));
    log.put(&["a . 4"]);
    assert_eq!(log.all(), ["2 b +1 open", "4 a . 4"]);
}

#[test]
fn an_age_of_zero_keeps_nothing() {
    let folder = Folder::new();
    let retention = Retention::default().age(Duration::ZERO);
    let mut log = Log::open(folder.store().retention(retention));
    log.put(&["a . 1", "a . 2"]);
    until(|| log.oldest() == 3);
    log.put(&["a . 3"]);
    until(|| log.oldest() == 4);
    assert_eq!(log.all(), Vec::<String>::new());
}

#[test]
fn a_lowered_bound_is_reached_in_steps_and_the_file_shrinks() {
    let folder = Folder::new();
    let mut log = folder.open();
    let payload = format!("a . {}", "x".repeat(300));
    let batch = vec![payload.as_str(); 500];
    for _ in 0..60 {
        log.put(&batch);
    }
    drop(log);
    let before = size(&folder);
    let log = Log::open(folder.store().retention(keeping(100)));
    until(|| log.oldest() == 29_902);
    until(|| free_pages(&folder) <= 256);
    drop(log);
    let after = size(&folder);
    assert!(
        before > 10_000_000 && after < 2_000_000,
        "{before} bytes became {after}"
    );
}

fn free_pages(folder: &Folder) -> i64 {
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    connection
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap()
}

#[test]
fn a_file_at_its_bound_does_not_grow() {
    let folder = Folder::new();
    let mut log = folder.keeping(2_000);
    let payload = "x".repeat(300);
    let mut largest = 0;
    let mut first = 0;
    for round in 0..100_u64 {
        let events: Vec<String> = (0..200)
            .map(|number| format!("trace-{} . {payload}", (round * 200 + number) / 7))
            .collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        log.put(&events);
        if round == 20 {
            first = pages(&folder);
        }
        largest = largest.max(pages(&folder));
    }
    assert!(
        largest <= first + first / 4,
        "{first} pages became {largest}"
    );
}

fn pages(folder: &Folder) -> i64 {
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap()
}

#[test]
fn a_new_file_can_give_space_back() {
    let folder = Folder::new();
    drop(folder.open());
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    let mode = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            .unwrap()
    };
    assert_eq!(mode("auto_vacuum"), rusqlite::types::Value::Integer(2));
    assert_eq!(
        mode("journal_mode"),
        rusqlite::types::Value::Text("wal".to_owned())
    );
}

#[test]
fn the_shortest_and_the_longest_age_and_wait_are_accepted() {
    for age in [Duration::ZERO, Duration::MAX] {
        let folder = Folder::new();
        let retention = SqliteEventStore::default_retention().age(age);
        let mut log = Log::open(folder.store().retention(retention));
        log.put(&["a . 1"]);
        log.put(&["a . 2"]);
        if age == Duration::MAX {
            assert_eq!(log.all(), ["1 a . 1", "2 a . 2"]);
        }
        let reader = Log::open(folder.store().read_only());
        let shared = reader.store.shared_log().unwrap();
        shared.interrupt();
        shared
            .wait_after(Sequence::new(2), ANY, Duration::MAX)
            .unwrap();
        shared
            .wait_after(Sequence::new(2), ANY, Duration::ZERO)
            .unwrap();
    }
}

/// Appends events in batches of ten. Each event is the only one of its stream, which is never open.
fn pass(log: &mut Log, from: u32, count: u32) {
    for first in (from..from + count).step_by(10) {
        let events: Vec<String> = (first..first + 10)
            .map(|one| format!("ended-{one} . x"))
            .collect();
        log.put(&events.iter().map(String::as_str).collect::<Vec<_>>());
        // The bound includes carried events, but not the opening events of open spans.
        assert!(log.all().len() <= 80 + 2);
    }
}

#[test]
fn a_stream_that_was_open_stays_whole_while_ended_ones_go() {
    let folder = Folder::new();
    let mut log = folder.keeping(80);
    log.put(&[
        "* +9 process",
        "a +1 start",
        "a . one",
        "b +1 start",
        "a . two",
    ]);
    pass(&mut log, 0, 200);
    let whole = ["2 a +1 start", "3 a . one", "5 a . two"];
    let of = |log: &Log, stream| {
        let mut events = log.of(&[stream], 0);
        assert_eq!(events.remove(0), "1 * +9 process");
        events
    };
    assert_eq!(of(&log, "a"), whole);
    log.put(&["a -1 end"]);
    // Stream `a` has ended, but there is room for its carried events.
    pass(&mut log, 200, 200);
    let whole = [&whole[..], &["206 a -1 end"]].concat();
    assert_eq!(of(&log, "a"), whole);
    assert_eq!(evicted(&log, "a"), Some((0, Some(0))));
    let known = |log: &Log| {
        let streams = log.streams_before(log.oldest(), 100).into_iter();
        streams
            .map(|(stream, first, _)| (stream, first))
            .collect::<Vec<_>>()
    };
    let both = [("b".to_owned(), 4), ("a".to_owned(), 2)];
    assert_eq!(known(&log), both);
    drop(log);
    // The log is opened again, and still has these events.
    let mut log = folder.keeping(80);
    pass(&mut log, 400, 200);
    assert_eq!(of(&log, "a"), whole);
    assert_eq!(known(&log), both);
    // A large stream leaves no room for `a`. Ended streams are removed first, then the largest one.
    log.put(&["c +1 start"]);
    log.put(&["c . on"; 15]);
    pass(&mut log, 600, 200);
    assert_eq!(of(&log, "a"), [""; 0]);
    assert_eq!((of(&log, "b").len(), of(&log, "c").len()), (1, 16));
    log.put(&["c . on"; 10]);
    pass(&mut log, 800, 200);
    assert_eq!(of(&log, "b"), ["4 b +1 start"]);
    assert_eq!(
        of(&log, "c").len(),
        1,
        "not exactly the start of the open stream is kept"
    );
    assert_eq!(evicted(&log, "c"), Some((25, Some(0))));
    log.put(&["c -1 end", "b -1 end"]);
    pass(&mut log, 1_000, 200);
    assert_eq!(of(&log, "b").len(), 2);
    assert_eq!(of(&log, "c"), [""; 0]);
}

fn evicted(log: &Log, stream: &str) -> Option<(u64, Option<u64>)> {
    let evicted = crate::support::block_on(log.store.evicted(&[super::log::key(stream)]));
    let evicted = evicted.unwrap().pop().flatten()?;
    Some((evicted.events, evicted.closings))
}
