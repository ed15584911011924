//! The events that retention keeps and removes. The bounds hold even while clients do not read.

use std::thread;

use livespan::{MemoryEventStore, NullEventStore, Retention, SseTarget, sse::Subscribe};

use super::{
    connection::{Connection, Frame, Piece, parse, sequence},
    test_event::{Note, builder, flush, key, put},
};
use crate::support::block_on;

fn target(retention: Retention) -> SseTarget<Note> {
    builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .unwrap()
}

/// Returns the text of a gap.
fn gap(from: u64, to: u64, lost: u64) -> String {
    format!("gap {{\"from\":{from},\"lost\":{lost},\"reason\":\"evicted\",\"to\":{to}}}")
}

#[test]
fn exactly_the_newest_events_are_kept() {
    let target = target(Retention::default().events(3));
    put(
        &target,
        (1..=10).map(|number| Note::new(number.to_string())),
    );
    let transcript = Connection::resume(&target, Subscribe::all(), "0").transcript();
    assert_eq!(
        transcript,
        [gap(1, 7, 7).as_str(), "note 8 8", "note 9 9", "note 10 10"]
    );
}

#[test]
fn exactly_the_bytes_allowed_are_kept() {
    // A frame is `event: note\nid: 12345678-1\ndata: x\n\n`: 36 bytes while the sequence has one digit.
    let target = target(Retention::default().bytes(3 * 36));
    put(&target, (1..=9).map(|_| Note::new("x")));
    let transcript = Connection::resume(&target, Subscribe::all(), "0").transcript();
    assert_eq!(
        transcript,
        [gap(1, 6, 6).as_str(), "note 7 x", "note 8 x", "note 9 x"]
    );
}

#[test]
fn the_newest_event_is_kept_even_when_it_is_larger_than_retention() {
    let target = target(Retention::default().bytes(10));
    let large = "y".repeat(1000);
    put(&target, [Note::new("x"), Note::new(large.clone())]);
    let transcript = Connection::resume(&target, Subscribe::all(), "0").transcript();
    assert_eq!(transcript, [gap(1, 1, 1), format!("note 2 {large}")]);
}

#[test]
fn events_that_are_appended_one_at_a_time_read_as_one_run() {
    let target = target(Retention::default().events(700));
    let mut slow = Connection::open(&target, Subscribe::all());
    let mut keyed = Connection::open(&target, Subscribe::to(key("odd")));
    for number in 1..=1000 {
        let note = Note::new(number.to_string());
        put(
            &target,
            [if number % 2 == 1 {
                note.on("odd")
            } else {
                note.on("even")
            }],
        );
        if number == 400 {
            assert_eq!(slow.transcript().len(), 400);
        }
    }
    let rest: Vec<String> = (401..=1000)
        .map(|number| format!("note {number} {number}"))
        .collect();
    assert_eq!(slow.transcript(), rest);
    let odd = (301..=1000)
        .step_by(2)
        .map(|number| format!("note {number} {number}"));
    let odd: Vec<String> = std::iter::once(gap(1, 300, 150)).chain(odd).collect();
    assert_eq!(keyed.transcript(), odd);
}

#[test]
fn a_reader_without_a_resume_point_gets_gaps_for_evictions_after_it_came() {
    let target = target(Retention::default().events(3));
    put(&target, (1..=4).map(|number| Note::new(number.to_string())));
    let mut early = Connection::open(&target, Subscribe::all());
    let mut late = Connection::open(&target, Subscribe::all());
    assert_eq!(early.transcript(), ["note 2 2", "note 3 3", "note 4 4"]);
    put(&target, (5..=9).map(|number| Note::new(number.to_string())));
    let retained = ["note 7 7", "note 8 8", "note 9 9"].map(str::to_owned);
    let with = |gap: String| {
        std::iter::once(gap)
            .chain(retained.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(early.transcript(), with(gap(5, 6, 2)));
    // Events that were gone before the reader connected do not count as missed. Events that were
    // removed later do.
    assert_eq!(late.transcript(), with(gap(2, 6, 5)));
}

#[test]
fn a_loss_on_one_stream_counts_its_events_and_those_of_every_stream() {
    let target = target(Retention::default().events(2));
    let mut connection = Connection::open(&target, Subscribe::to(key("a")));
    drop(connection.transcript());
    put(
        &target,
        [
            Note::new("1").on("a"),
            Note::new("2"),
            Note::new("3").on("b"),
            Note::new("4").on("b"),
        ],
    );
    put(&target, [Note::new("5").on("a")]);
    assert_eq!(connection.transcript(), [gap(1, 3, 2).as_str(), "note 5 5"]);
    put(
        &target,
        [
            Note::new("6").on("b"),
            Note::new("7").on("b"),
            Note::new("8").on("b"),
        ],
    );
    assert_eq!(
        connection.transcript(),
        [""; 0],
        "a loss on another stream caused a frame on this one"
    );
}

#[test]
fn a_stream_that_was_forgotten_and_came_back_does_not_hide_its_loss() {
    let target = target(Retention::default().events(2));
    put(
        &target,
        (1..=3).map(|number| Note::new(number.to_string()).on("a")),
    );
    put(
        &target,
        (4..=6).map(|number| Note::new(number.to_string()).on("b")),
    );
    put(&target, [Note::new("7").on("a")]);
    let transcript = Connection::resume(&target, Subscribe::to(key("a")), "1").transcript();
    assert_eq!(
        transcript,
        [
            "gap {\"from\":2,\"lost\":null,\"reason\":\"evicted\",\"to\":5}",
            "note 7 7"
        ]
    );
}

#[test]
fn a_log_without_storage_resumes_within_memory() {
    let target = builder().store(NullEventStore::new()).build().unwrap();
    put(&target, (1..=3).map(|number| Note::new(number.to_string())));
    assert_eq!(
        Connection::resume(&target, Subscribe::all(), "1").transcript(),
        ["note 2 2", "note 3 3"]
    );
    put(
        &target,
        (4..=5000).map(|number| Note::new(number.to_string())),
    );
    let transcript = Connection::resume(&target, Subscribe::all(), "1").transcript();
    assert_eq!(transcript[0], gap(2, 904, 903));
    assert_eq!(
        transcript[1..],
        (905..=5000)
            .map(|number| format!("note {number} {number}"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_client_that_stops_reading_holds_no_events_while_a_million_pass() {
    const EVENTS: u64 = 1_000_000;
    const KEPT: u64 = 10_000;
    let target = target(Retention::default().events(10_000));
    let mut stalled = Connection::open(&target, Subscribe::all());
    let mut stalled_keyed = Connection::open(&target, Subscribe::to(key("a")));
    drop((stalled.frames(), stalled_keyed.frames()));
    let reader = thread::spawn({
        let target = target.clone();
        move || follow(&target, EVENTS)
    });
    for number in 1..=EVENTS {
        let note = Note::new("");
        target
            .try_dispatch(&if number % 2 == 0 { note } else { note.on("a") })
            .unwrap();
        if number % 50_000 == 0 {
            flush(&target);
        }
    }
    let (received, lost) = reader.join().unwrap();
    assert_eq!(received + lost, EVENTS);

    // The log kept as many events as it may, and the bodies kept none. So their next piece is the
    // gap, then the retained events.
    let Piece::Bytes(hello) = Connection::open(&target, Subscribe::all()).piece() else {
        panic!("the stream did not begin with a hello")
    };
    let hello = parse(&hello)[1].json();
    assert_eq!(
        sequence(hello["oldest"].as_str().unwrap()),
        EVENTS - KEPT + 1
    );
    for connection in [&mut stalled, &mut stalled_keyed] {
        let frames = connection.frames();
        let transcript = frames[0].json();
        assert_eq!(
            (
                &transcript["lost"],
                sequence(transcript["to"].as_str().unwrap())
            ),
            (&(EVENTS - KEPT).into(), EVENTS - KEPT)
        );
        let rest: Vec<u64> = frames[1..].iter().filter_map(Frame::sequence).collect();
        assert_eq!(rest, (EVENTS - KEPT + 1..=EVENTS).collect::<Vec<_>>());
    }
}

/// Reads up to this event. Returns the number of received events, and the number that gaps
/// announced as lost.
fn follow(target: &SseTarget<Note>, until: u64) -> (u64, u64) {
    use futures_util::StreamExt as _;
    use livespan::sse::{Gap, Message};
    let mut messages = target.subscribe(Subscribe::all());
    let (mut received, mut lost, mut place) = (0, 0, 0);
    block_on(async {
        while place < until {
            match messages.next().await.unwrap() {
                Message::Event(event) => {
                    assert_eq!(event.id.sequence().get(), place + 1);
                    place += 1;
                    received += 1;
                }
                Message::Gap(Gap::Evicted {
                    from,
                    to,
                    lost: Some(count),
                }) => {
                    assert_eq!(from.sequence().get(), place + 1);
                    place = to.sequence().get();
                    lost += count;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    (received, lost)
}
