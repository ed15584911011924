//! Several processes read while one writes.

use std::{
    thread,
    time::{Duration, Instant},
};

use livespan::{
    EventStore as _,
    sse::{Sequence, StreamKey},
    store::SharedLog,
};

use super::log::{ANY, Folder, Log, batch, key, transcript};
use crate::support::{PATIENCE, block_on, causes, until};

fn following(folder: &Folder) -> Log {
    Log::open(folder.store().read_only())
}

fn follow(log: &Log) -> &dyn SharedLog {
    log.store.shared_log().unwrap()
}

fn wait_after(log: &Log, after: u64) -> Vec<String> {
    let waited = follow(log).wait_after(Sequence::new(after), ANY, PATIENCE);
    transcript(&waited.unwrap())
}

#[test]
fn a_reader_sees_what_the_writer_appends() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a +1 one"]);
    let reader = following(&folder);
    assert_eq!(wait_after(&reader, 0), ["1 a +1 one"]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_after(&reader, 1));
        log.put(&["b . two", "* . three"]);
        assert_eq!(waiting.join().unwrap(), ["2 b . two", "3 * . three"]);
    });
    assert_eq!(reader.all(), log.all());
    assert_eq!(reader.of(&["a"], 0), ["1 a +1 one", "3 * . three"]);
    assert_eq!(block_on(follow(&reader).head()).unwrap(), Sequence::new(3));
    assert_eq!(follow(&reader).known_head(), Sequence::new(3));
    assert_eq!(reader.abandoned(), Vec::<String>::new());
}

#[test]
fn a_reader_of_streams_is_woken_only_by_their_events() {
    let folder = Folder::new();
    let mut log = folder.open();
    let reader = following(&folder);
    let news = |places: &[(StreamKey, Sequence)], every: u64| {
        follow(&reader)
            .wait_streams(places, Sequence::new(every), PATIENCE)
            .unwrap()
    };
    let (a, b) = (key("a"), key("b"));
    log.put(&["a . 1", "b . 2", "c . 3", "b . 4"]);
    let start = Sequence::START;
    assert_eq!(
        news(&[(a, start), (b, start)], 0),
        [(Some(a), Sequence::new(1)), (Some(b), Sequence::new(4))]
    );
    thread::scope(|scope| {
        let places = [(a, Sequence::new(1)), (key("unheard"), start)];
        let waiting = scope.spawn(move || news(&places, 0));
        log.put(&["b . 5"]);
        log.put(&["* . 6"]);
        assert_eq!(waiting.join().unwrap(), [(None, Sequence::new(6))]);
    });
}

#[test]
fn a_wait_ends_when_it_is_interrupted_or_its_time_is_over() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    let reader = following(&folder);
    follow(&reader).interrupt();
    let begun = Instant::now();
    assert_eq!(wait_after(&reader, 1), Vec::<String>::new());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_after(&reader, 1));
        let places = [(key("a"), Sequence::new(1))];
        let reader = &reader;
        let beside =
            scope.spawn(move || follow(reader).wait_streams(&places, Sequence::START, PATIENCE));
        follow(reader).interrupt();
        assert_eq!(waiting.join().unwrap(), Vec::<String>::new());
        assert_eq!(beside.join().unwrap().unwrap(), []);
    });
    assert!(begun.elapsed() < PATIENCE);
    let nothing = follow(&reader).wait_after(Sequence::new(1), ANY, Duration::from_millis(1));
    assert_eq!(nothing.unwrap(), []);
}

#[test]
fn a_reader_keeps_up_with_new_epochs_and_retention() {
    let folder = Folder::new();
    let mut log = folder.keeping(2);
    log.put(&["* +1 process", "a . 2"]);
    let reader = following(&folder);
    assert_eq!(reader.store.epochs(), log.store.epochs());
    assert_eq!(reader.standing(), ["1 * +1 process"]);
    drop(log);
    let mut log = folder.keeping(2);
    log.put(&["a . 3", "a . 4", "a . 5"]);
    assert_eq!(wait_after(&reader, 2), ["4 a . 4", "5 a . 5"]);
    assert_eq!(reader.store.epochs(), log.store.epochs());
    assert_eq!(reader.oldest(), 4);
    assert_eq!(reader.streams_before(9, 9), [("a".to_owned(), 4, 5)]);
    assert_eq!(reader.standing(), Vec::<String>::new());
}

#[test]
fn a_reader_refuses_to_append() {
    let folder = Folder::new();
    drop(folder.open());
    let reader = following(&folder);
    let error = reader
        .store
        .append(Sequence::new(1), &batch(&["a . 1"]))
        .unwrap_err();
    assert_eq!(
        causes(&error),
        [
            format!("append to the event log {}", folder.file().display()),
            "it is open for reading; the process that writes to it has to append".to_owned()
        ]
    );
    assert!(error.is_store());
}

#[test]
fn readers_and_a_writer_at_full_speed_see_one_order() {
    const EVENTS: usize = 20_000;
    let folder = Folder::new();
    let mut log = folder.open();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let reader = following(&folder);
                    let mut after = 0;
                    while after < EVENTS as u64 {
                        let page = follow(&reader)
                            .wait_after(
                                Sequence::new(after),
                                livespan::store::PageLimit::default(),
                                PATIENCE,
                            )
                            .unwrap();
                        for event in page {
                            after += 1;
                            assert_eq!(event.sequence.get(), after);
                        }
                    }
                })
            })
            .collect();
        log.fill(EVENTS);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_dropped_store_has_closed_its_file() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    assert_eq!(log.all(), ["1 a . 1"]);
    let beside = |end: &str| {
        let mut name = folder.file().into_os_string();
        name.push(end);
        std::path::PathBuf::from(name).exists()
    };
    assert!(beside("-wal") && beside("-shm"));
    drop(log);
    // SQLite removes the files when its last connection is closed, which is when the last thread
    // with a connection has ended.
    assert!(!beside("-wal") && !beside("-shm"));
    until(|| folder.file().exists());
}
