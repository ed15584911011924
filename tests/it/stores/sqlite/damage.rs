//! Rows that another program wrote into the file are not served. An event that the log cannot have
//! written becomes a gap of one.

use futures_util::StreamExt as _;
use livespan::{
    SseTarget,
    sse::{Message, StreamKey, Subscribe},
};
use rusqlite::Connection;

use super::{super::tail::WithTail, log::Folder, text::Text};
use crate::support::{PATIENCE, block_on};

const GAP: &str = "gap {\"type\":\"gap\",\"reason\":\"damaged\",\"lost\":1}";

/// Writes nine events, on three streams and on every stream, then runs these statements.
fn tampered(statements: &str) -> Folder {
    let folder = Folder::new();
    let mut log = folder.open();
    let events = [
        "a +1 1", "b . 2", "c . 3", "a . 4", "b . 5", "c . 6", "a . 7", "b . 8", "* . 9",
    ];
    log.put(&events);
    drop(log);
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch(statements).unwrap();
    folder
}

/// Returns the events that a new reader gets, as `sequence name payload`.
fn transcript(target: &SseTarget<Text>, subscribe: Subscribe) -> Vec<String> {
    let mut subscription = target.subscribe(subscribe);
    block_on(async {
        let mut transcript = Vec::new();
        loop {
            match subscription.next().await.unwrap() {
                Message::Event(event) => {
                    let payload = String::from_utf8(event.payload.to_vec()).unwrap();
                    transcript.push(format!("{} {} {payload}", event.id.sequence(), event.name));
                }
                Message::End(_) => return transcript,
                other => transcript.push(format!("{other:?}")),
            }
        }
    })
}

fn expected(damaged: &[u64], sequences: &[u64]) -> Vec<String> {
    let line = |sequence: &u64| {
        if damaged.contains(sequence) {
            format!("{sequence} {GAP}")
        } else {
            format!("{sequence} note {sequence}")
        }
    };
    sequences.iter().map(line).collect()
}

/// Opens the log. Checks the events that readers of everything and of single streams get.
fn check(statements: &str, damaged: &[u64]) {
    let folder = tampered(statements);
    // The first log has all events in memory. The second reads them from the file.
    for tail in [10_000, 1] {
        let store = WithTail(folder.store(), tail);
        let target = SseTarget::<Text>::builder().store(store).build().unwrap();
        target.shutdown(PATIENCE).unwrap();
        let all: Vec<u64> = (1..=9).collect();
        assert_eq!(
            transcript(&target, Subscribe::all()),
            expected(damaged, &all),
            "{statements} {tail}"
        );
        for (stream, sequences) in [
            ("a", [1, 4, 7, 9]),
            ("b", [2, 5, 8, 9]),
            ("c", [3, 6, 9, 0]),
        ] {
            let sequences: Vec<u64> = sequences.into_iter().filter(|one| *one > 0).collect();
            let key = StreamKey::new(stream).unwrap();
            assert_eq!(
                transcript(&target, Subscribe::to(key)),
                expected(damaged, &sequences),
                "{statements} {tail} {stream}"
            );
        }
        let health = target.health();
        assert_eq!(
            (health.failure, health.damaged_events),
            (None, damaged.len())
        );
    }
}

#[test]
fn a_name_with_a_line_break_forges_no_frame() {
    check(
        "UPDATE event SET name = 'x' || char(10) || 'id: evil-1' WHERE sequence IN (2, 9)",
        &[2, 9],
    );
}

#[test]
fn a_name_of_another_alphabet_length_or_type_is_a_gap() {
    check(
        "UPDATE event SET name = 'a b' WHERE sequence = 1;
         UPDATE event SET name = '' WHERE sequence = 3;
         UPDATE event SET name = x'6e6f7465' WHERE sequence = 4;
         UPDATE event SET name = CAST(x'6eff' AS TEXT) WHERE sequence = 5;
         UPDATE event SET name = substr(hex(zeroblob(50)), 1, 65) WHERE sequence = 7",
        &[1, 3, 4, 5, 7],
    );
}

#[test]
fn a_payload_that_is_no_text_is_a_gap() {
    check(
        "UPDATE event SET payload = x'ff00' WHERE sequence = 3;
         UPDATE event SET payload = x'c3' WHERE sequence = 4",
        &[3, 4],
    );
}

#[test]
fn every_event_can_be_damaged() {
    check(
        "UPDATE event SET name = 'a' || char(13)",
        &[1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
}

/// A stream without a name has no reader. Only readers of everything get its gaps.
#[test]
fn an_event_of_a_stream_that_has_no_row_is_a_gap_and_retention_goes_on() {
    let folder = tampered("DELETE FROM stream WHERE key = CAST('b' AS BLOB)");
    let target = SseTarget::<Text>::builder()
        .store(folder.store())
        .build()
        .unwrap();
    target.shutdown(PATIENCE).unwrap();
    let all: Vec<u64> = (1..=9).collect();
    assert_eq!(
        transcript(&target, Subscribe::all()),
        expected(&[2, 5, 8], &all)
    );
    drop(target);
    let mut log = folder.keeping(2);
    log.put(&["b . 10", "b . 11"]);
    log.fill(200);
    assert_eq!(
        log.all().len(),
        3,
        "not exactly the open event and two others are kept"
    );
}

#[test]
fn columns_of_another_type_prevent_no_open_and_no_read() {
    check(
        "UPDATE event SET pin = 'x', token = x'00' WHERE sequence IN (1, 2);
         UPDATE event SET pin = 99 WHERE sequence = 3",
        &[],
    );
}
