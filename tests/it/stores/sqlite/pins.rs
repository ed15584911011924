//! An open event outlives retention and its process, until it is closed.

use livespan::{
    EventStore as _,
    sse::{Pinning, Sequence},
    store::OpenEventRecovery as _,
};

use super::log::{Folder, batch, key};
use crate::support::block_on;

#[test]
fn an_open_event_outlives_retention_and_is_read_first() {
    let folder = Folder::new();
    let mut log = folder.keeping(2);
    log.put(&["a . x", "a +7 open", "* +1 process", "b . x"]);
    log.fill(50);
    log.put(&["a . now"]);
    assert_eq!(log.oldest(), 54);
    assert_eq!(
        log.all(),
        [
            "2 a +7 open",
            "3 * +1 process",
            "54 filler . -",
            "55 a . now"
        ]
    );
    assert_eq!(
        log.after(2),
        ["3 * +1 process", "54 filler . -", "55 a . now"]
    );
    assert_eq!(
        log.of(&["a"], 0),
        ["2 a +7 open", "3 * +1 process", "55 a . now"]
    );
    assert_eq!(log.of(&["unheard"], 0), ["3 * +1 process"]);
    assert_eq!(log.standing(), ["3 * +1 process"]);
}

#[test]
fn closing_releases_the_open_event_and_no_other() {
    let folder = Folder::new();
    let mut log = folder.keeping(1);
    log.put(&["a +7 a", "b +7 b", "* +7 every", "a +8 eight"]);
    log.fill(10);
    log.put(&["a -7 -"]);
    assert_eq!(
        log.all(),
        ["2 b +7 b", "3 * +7 every", "4 a +8 eight", "15 a -7 -"]
    );
    log.put(&["* -7 -", "b -7 -", "a -8 -"]);
    assert_eq!(log.all(), ["18 a -8 -"]);
    assert_eq!(log.standing(), Vec::<String>::new());
    log.fill(1);
    assert_eq!(log.all(), ["19 filler . -"]);
    assert_eq!(log.streams_before(100, 10), [("filler".to_owned(), 19, 19)]);
}

#[test]
fn opening_a_token_again_replaces_its_event() {
    let folder = Folder::new();
    let mut log = folder.keeping(1);
    log.put(&["a +7 first", "* +1 first"]);
    log.fill(5);
    log.put(&["a +7 second", "* +1 second"]);
    log.fill(5);
    assert_eq!(
        log.all(),
        ["8 a +7 second", "9 * +1 second", "14 filler . -"]
    );
    assert_eq!(log.standing(), ["9 * +1 second"]);
}

/// The table of open events is written every few thousand events. These cases reopen the file just
/// before, at and just after that point.
#[test]
fn a_reopened_log_knows_its_open_events_wherever_it_was_closed() {
    for filler in [0, 10, 4_080, 4_096, 4_100, 9_000] {
        let folder = Folder::new();
        let mut log = folder.keeping(20_000);
        log.put(&["a +1 closed", "a +2 open", "* +9 process", "b +1 b"]);
        log.fill(filler);
        log.put(&["a -1 -", "b +1 again", "c +1 -", "c -1 -"]);
        drop(log);
        let mut log = folder.keeping(3);
        log.fill(20);
        let end = 28 + filler;
        assert_eq!(
            log.all(),
            [
                "2 a +2 open".to_owned(),
                "3 * +9 process".to_owned(),
                format!("{} b +1 again", filler + 6),
                format!("{} filler . -", end - 2),
                format!("{} filler . -", end - 1),
                format!("{end} filler . -"),
            ],
            "{filler} events in between"
        );
    }
}

#[test]
fn events_that_earlier_epochs_left_open_are_returned_once_and_kept_until_closed() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a +1 one", "* +1 process", "a +2 two", "a -1 -"]);
    assert_eq!(
        log.abandoned(),
        Vec::<String>::new(),
        "events of the current epoch count as abandoned"
    );
    drop(log);
    let mut log = folder.open();
    log.put(&["b +1 new"]);
    assert_eq!(log.abandoned(), ["3 a +2 two"]);
    assert_eq!(log.abandoned(), Vec::<String>::new());
    drop(log);
    let mut log = folder.keeping(1);
    assert_eq!(log.abandoned(), ["3 a +2 two", "5 b +1 new"]);
    log.put(&["a -2 lost", "b -1 lost"]);
    drop(log);
    let log = folder.open();
    assert_eq!(log.abandoned(), Vec::<String>::new());
}

#[test]
fn an_abandoned_event_has_the_time_of_the_last_write_in_its_epoch() {
    let folder = Folder::new();
    let begun = std::time::SystemTime::now();
    let mut log = folder.open();
    log.put(&["a +1 one"]);
    drop(log);
    let mut log = folder.open();
    log.put(&["a +2 two"]);
    drop(log);
    let log = folder.open();
    let abandoned = log.store.recover_open_events().unwrap().abandoned;
    let times: Vec<_> = abandoned.iter().map(|one| one.last_heard).collect();
    // The file stores times in milliseconds.
    let earliest = begun - std::time::Duration::from_millis(1);
    assert!(
        times.len() == 2
            && earliest <= times[0]
            && times[0] <= times[1]
            && times[1] <= std::time::SystemTime::now(),
        "{times:?}"
    );
}

#[test]
fn an_open_global_event_outlives_the_last_event_of_its_epoch() {
    let folder = Folder::new();
    let mut log = folder.keeping(4);
    log.put(&["* +4294967296 first", "a +1 open", "a . x"]);
    drop(log);
    let mut log = folder.keeping(4);
    // In another epoch, the same token belongs to another process.
    log.put(&["* +4294967296 second", "b . y"]);
    assert_eq!(
        log.standing(),
        ["1 * +4294967296 first", "4 * +4294967296 second"]
    );
    log.fill(10);
    assert_eq!(
        log.all()[..3],
        [
            "1 * +4294967296 first",
            "2 a +1 open",
            "4 * +4294967296 second"
        ],
        "the events before `oldest` are not exactly the open ones"
    );
    log.put(&["a -1 lost"]);
    assert_eq!(log.all()[..1], ["4 * +4294967296 second"]);
    drop(log);
    let mut log = folder.keeping(4);
    log.fill(3);
    assert_eq!(
        log.standing(),
        ["4 * +4294967296 second"],
        "the process of the second epoch is not kept as long as its newest event"
    );
    log.fill(1);
    assert_eq!(log.standing(), Vec::<String>::new());
    assert_eq!(log.all().len(), 4);
}

#[test]
fn a_batch_that_failed_opens_and_closes_nothing() {
    let folder = Folder::new();
    let mut log = folder.keeping(3);
    log.put(&["a +1 open"]);
    log.fill(5);
    // This batch fails because its first sequence is already in use.
    let again = log
        .store
        .append(Sequence::new(3), &batch(&["a -1 -", "b +1 -"]))
        .unwrap_err();
    assert_eq!(
        again.to_string(),
        format!(
            "append to the event log {}: 3 is not after its newest event, 6",
            folder.file().display()
        )
    );
    assert_eq!(log.all()[0], "1 a +1 open");
    let read = log
        .store
        .read_streams_after(&[key("a")], Sequence::START, super::log::ANY);
    assert_eq!(block_on(read).unwrap()[0].pin, Pinning::Open(1));
}
