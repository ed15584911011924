//! `kill -9` at any moment. All events that a client received are replayed afterwards, in order and
//! once, and the file always opens.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use futures_util::StreamExt as _;
use livespan::{
    SqliteEventStore, SseTarget,
    sse::{EventId, Message, ResumePoint, Subscribe},
    store::Synchronous,
};

use super::{
    child,
    log::Folder,
    text::{Text, read_all},
};
use crate::support::{PATIENCE, block_on};

const KILLS: u64 = 100;
/// Small enough that retention runs in every process but the first few, and as large as the events that two processes
/// write.
const KEPT_EVENTS: usize = 10_000;
/// By at most this many events, a writer may be ahead of its subscriber's output. A pipe holds some
/// 2,000 lines more.
const AHEAD: u64 = 2_000;

fn target(file: &Path, synchronous: Synchronous) -> SseTarget<Text> {
    let retention = SqliteEventStore::default_retention().events(KEPT_EVENTS);
    SseTarget::builder()
        .store(
            SqliteEventStore::new(file)
                .retention(retention)
                .synchronous(synchronous),
        )
        .build()
        .unwrap()
}

/// The child process: dispatches without a pause, and prints the events that a subscriber receives.
pub(super) fn write_until_killed(file: &Path) {
    let target = target(file, Synchronous::Normal);
    let mut subscription = target.subscribe(Subscribe::all().resume(ResumePoint::Live));
    let handed_on = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&handed_on);
    thread::spawn(move || {
        let process = std::process::id();
        for number in 0_u64.. {
            while number > seen.load(Ordering::Relaxed) + AHEAD {
                thread::yield_now();
            }
            target
                .try_dispatch(&Text(format!("{process} {number}")))
                .unwrap();
        }
    });
    let mut out = std::io::stdout().lock();
    block_on(async {
        while let Some(message) = subscription.next().await {
            if let Message::Event(event) = message {
                let text = String::from_utf8(event.payload.to_vec()).unwrap();
                // One write per line, so that a line in the pipe is either complete or lacks its
                // end.
                let line = format!("> {} {text}\n", event.id);
                out.write_all(line.as_bytes()).unwrap();
                out.flush().unwrap();
                handed_on.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}

/// Starts a writer, kills it after it has printed this many lines, and returns all lines that it
/// printed.
fn received(file: &Path, lines: usize) -> Vec<(EventId, String)> {
    let mut writer = child::command("write", file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(writer.stdout.take().unwrap());
    let mut received = Vec::new();
    let mut take = |received: &mut Vec<(EventId, String)>| {
        let mut line = String::new();
        let read = out.read_line(&mut line).unwrap();
        // The harness writes the test's name before the first line.
        if let Some((_, entry)) = line.split_once("> ")
            && let Some(entry) = entry.strip_suffix('\n')
        {
            let (id, text) = entry.split_once(' ').unwrap();
            received.push((id.parse().unwrap(), text.to_owned()));
        }
        read > 0
    };
    while received.len() < lines {
        assert!(take(&mut received), "the writer ended before it was killed");
    }
    writer.kill().unwrap();
    while take(&mut received) {}
    writer.wait().unwrap();
    received
}

#[test]
fn events_that_a_client_received_are_replayed_after_a_hundred_kills() {
    let folder = Folder::new();
    let seed = RandomState::new();
    let mut last: Option<EventId> = None;
    for turn in 0..KILLS {
        let lines = 1 + (seed.hash_one(turn) % 400) as usize;
        let received = received(&folder.file(), lines);

        let target = target(&folder.file(), Synchronous::Off);
        let first = received[0].0;
        let resume = |point| target.subscribe(Subscribe::all().resume(point));
        let (all, resumed) = (
            resume(ResumePoint::Oldest),
            last.map(|id| resume(ResumePoint::AfterId(id))),
        );
        target.shutdown(PATIENCE).unwrap();
        let all = read_all(all).unwrap();
        let places: HashMap<EventId, usize> = all
            .iter()
            .enumerate()
            .map(|(place, (id, _))| (*id, place))
            .collect();
        assert_eq!(places.len(), all.len(), "an id occurs twice");
        assert!(
            all.is_sorted_by_key(|(id, _)| id.sequence()),
            "sequences ascend"
        );
        let begin = places[&first];
        assert_eq!(
            all[begin..begin + received.len()],
            received,
            "kill {turn} after {lines} lines"
        );
        if let Some(resumed) = resumed {
            // A client of an earlier process resumes at the same position, and gets all later
            // events.
            let resumed = read_all(resumed).unwrap();
            let since = places[&last.unwrap()] + 1;
            assert_eq!(resumed, all[since..]);
        }
        last = received.last().map(|(id, _)| *id);
    }
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}
