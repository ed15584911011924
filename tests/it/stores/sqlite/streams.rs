//! Single streams are read and listed by index, at every page size.

use livespan::{
    EventStore as _,
    sse::Sequence,
    store::{PageLimit, StoredEvent},
};

use super::log::{Folder, Log, batch, key, transcript};
use crate::support::block_on;

/// Sixty events of growing size, on three streams and on every stream.
fn mixed(log: &mut Log) {
    for number in 0..60 {
        let stream = ["a", "b", "c", "*"][number % 4];
        let payload = "x".repeat(number);
        log.put(&[&format!("{stream} . {payload}")]);
    }
}

fn pages(log: &Log, streams: &[&str], limit: PageLimit) -> Vec<Vec<StoredEvent>> {
    let keys: Vec<_> = streams.iter().map(|stream| key(stream)).collect();
    let mut pages: Vec<Vec<StoredEvent>> = Vec::new();
    let mut after = Sequence::START;
    loop {
        let read = if keys.is_empty() {
            log.store.read_after(after, limit)
        } else {
            log.store.read_streams_after(&keys, after, limit)
        };
        let page = block_on(read).unwrap();
        let Some(last) = page.last() else {
            return pages;
        };
        after = last.sequence;
        pages.push(page);
    }
}

#[test]
fn pages_of_every_size_add_up_to_the_same_events() {
    let folder = Folder::new();
    let mut log = folder.open();
    mixed(&mut log);
    for streams in [&[][..], &["a"], &["a", "c"], &["c", "b", "a", "b"], &["zz"]] {
        let whole = if streams.is_empty() {
            log.all()
        } else {
            log.of(streams, 0)
        };
        for (events, bytes) in [(1, 0), (1, 1_000), (2, 80), (7, 1_000_000), (1_000, 100)] {
            let limit = PageLimit::default().events(events).bytes(bytes);
            let pages = pages(&log, streams, limit);
            for page in &pages {
                let size: usize = page.iter().map(|event| event.payload.len()).sum();
                assert!(page.len() <= events && (size <= bytes || page.len() == 1));
            }
            assert_eq!(transcript(&pages.concat()), whole, "{streams:?} {limit:?}");
        }
    }
}

#[test]
fn streams_are_listed_by_their_first_kept_event() {
    let folder = Folder::new();
    let mut log = folder.keeping(8);
    let name = |text: &str| text.to_owned();
    log.put(&["old . 1", "gone . 2", "pinned +1 3", "old . 4", "new . 5"]);
    assert_eq!(
        log.streams_before(6, 10),
        [
            (name("new"), 5, 5),
            (name("pinned"), 3, 3),
            (name("gone"), 2, 2),
            (name("old"), 1, 4),
        ]
    );
    log.put(&[
        "gone . 6",
        "filler . 7",
        "pinned . 8",
        "old . 9",
        "* . 10",
        "last . 11",
    ]);
    // Events 5 to 11 are kept, and 3 because it is open.
    assert_eq!(log.oldest(), 5);
    let all = [
        (name("last"), 11, 11),
        (name("old"), 9, 9),
        (name("filler"), 7, 7),
        (name("gone"), 6, 6),
        (name("new"), 5, 5),
        (name("pinned"), 3, 8),
    ];
    assert_eq!(log.streams_before(12, 10), all);
    let mut paged = Vec::new();
    let mut before = 12;
    loop {
        let page = log.streams_before(before, 2);
        let Some((_, first, _)) = page.last() else {
            break;
        };
        before = *first;
        paged.extend(page);
    }
    assert_eq!(paged, all);
    log.put(&["pinned -1 12", "* . 13"]);
    assert_eq!(
        log.streams_before(u64::MAX, 10),
        [
            (name("last"), 11, 11),
            (name("old"), 9, 9),
            (name("filler"), 7, 7),
            (name("pinned"), 3, 12),
        ]
    );
}

#[test]
fn a_stream_that_was_forgotten_can_come_back() {
    let folder = Folder::new();
    let mut log = folder.keeping(2);
    log.put(&["a . 1"]);
    log.fill(5);
    assert_eq!(log.of(&["a"], 0), Vec::<String>::new());
    log.put(&["a . 7"]);
    assert_eq!(log.of(&["a"], 0), ["7 a . 7"]);
    assert_eq!(log.streams_before(8, 1), [("a".to_owned(), 7, 7)]);
}

#[test]
fn skipped_sequences_stay_skipped() {
    let folder = Folder::new();
    let mut log = folder.keeping(3);
    log.put(&["a . 1", "a . 2"]);
    log.leave_out(100);
    log.put(&["a . 103"]);
    drop(log);
    let mut log = folder.keeping(3);
    assert_eq!(log.all(), ["1 a . 1", "2 a . 2", "103 a . 103"]);
    log.put(&["b . 104", "b . 105"]);
    assert_eq!(log.all(), ["103 a . 103", "104 b . 104", "105 b . 105"]);
}

#[test]
fn a_payload_of_any_bytes_comes_back_as_it_was() {
    let folder = Folder::new();
    let log = folder.open();
    let every: Vec<u8> = (0..=255).cycle().take(256 * 1024).collect();
    let mut events = batch(&[]);
    events.add("empty", None, livespan::sse::Pinning::None, b"");
    events.add(
        "Large.-_1",
        Some(key("a")),
        livespan::sse::Pinning::None,
        &every,
    );
    log.store.append(Sequence::new(1), &events).unwrap();
    let read = block_on(log.store.read_after(Sequence::START, super::log::ANY)).unwrap();
    let came: Vec<(&str, &[u8])> = read
        .iter()
        .map(|event| (event.name.as_str(), &event.payload[..]))
        .collect();
    assert_eq!(came, [("empty", &b""[..]), ("Large.-_1", &every[..])]);
}

#[test]
fn a_read_that_nobody_waits_for_does_no_harm() {
    let folder = Folder::new();
    let mut log = folder.open();
    log.put(&["a . 1"]);
    for _ in 0..100 {
        drop(log.store.read_after(Sequence::START, super::log::ANY));
    }
    assert_eq!(log.all(), ["1 a . 1"]);
}
