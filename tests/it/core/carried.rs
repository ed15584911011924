//! The beginning of an open stream is kept while whole ended streams are removed, within a share of
//! the retention.

use livespan::{MemoryEventStore, Retention, SseTarget, sse::Subscribe};

use super::{
    connection::Connection,
    test_event::{Note, builder, key, put},
};

fn keeping(retention: Retention) -> SseTarget<Note> {
    builder()
        .store(MemoryEventStore::with_retention(retention))
        .build()
        .unwrap()
}

/// Returns short streams that end at once, two events each, named by their number.
fn short(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Note> {
    numbers.flat_map(|number| {
        let stream = format!("short {number}");
        [
            Note::new("-").on(&stream).opening(1),
            Note::new("-").on(&stream).closing(1),
        ]
    })
}

/// Returns the events that a reader of the stream gets from its beginning.
fn transcript(target: &SseTarget<Note>, stream: &str) -> Vec<String> {
    Connection::resume(target, Subscribe::to(key(stream)), "0").transcript()
}

fn gap(from: u64, to: u64, lost: u64) -> String {
    format!("gap {{\"from\":{from},\"lost\":{lost},\"reason\":\"evicted\",\"to\":{to}}}")
}

/// Dispatches an opening event and then `events` more on a stream, each followed by 10 short
/// streams.
fn put_long(target: &SseTarget<Note>, events: u64) {
    put(target, [Note::new("0").on("long").opening(1)]);
    for number in 1..=events {
        let note = Note::new(number.to_string()).on("long");
        let short = short(10 * number..10 * number + 10);
        put(target, std::iter::once(note).chain(short));
    }
}

#[test]
fn an_open_stream_stays_whole_while_ended_ones_are_evicted() {
    let target = keeping(Retention::default().events(100));
    put_long(&target, 20);
    // The opening event is 1, and each of the others comes 21 events after the one before.
    let long: Vec<String> = (0..=20_u64)
        .map(|number| {
            format!(
                "note {} {number}",
                if number == 0 { 1 } else { 21 * number - 19 }
            )
        })
        .collect();
    assert_eq!(transcript(&target, "long"), long);
    let fresh = Connection::open(&target, Subscribe::to(key("long"))).transcript();
    assert_eq!(fresh, long);
    // A reader that already has a part gets the rest, without a gap.
    let resumed = Connection::resume(&target, Subscribe::to(key("long")), "150").transcript();
    assert_eq!(resumed, long[9..]);

    // 421 events came, and 100 are kept: 18 events of the long stream are carried, and the newest 82 follow.
    let all = Connection::resume(&target, Subscribe::all(), "0").transcript();
    let gaps = [gap(1, 339, 339 - 18)];
    let newest = (340..=421_u64).map(|sequence| {
        match long
            .iter()
            .find(|one| one.starts_with(&format!("note {sequence} ")))
        {
            Some(one) => one.clone(),
            None => format!("note {sequence} -"),
        }
    });
    let expected: Vec<String> = gaps
        .into_iter()
        .chain(long[..18].iter().cloned())
        .chain(newest)
        .collect();
    assert_eq!(all, expected);
}

#[test]
fn a_stream_that_outgrows_the_share_loses_its_carried_events_except_open_ones() {
    let target = keeping(Retention::default().events(40));
    // The share is 10 events, so with the eleventh carried event all of them are removed.
    put_long(&target, 13);
    // 274 events came, and the newest 40 are kept. The opening event stays, because it is still open.
    assert_eq!(
        transcript(&target, "long"),
        [gap(1, 234, 12).as_str(), "note 1 0", "note 254 13"]
    );
}

#[test]
fn an_ended_stream_is_evicted_whole_before_an_open_one() {
    let target = keeping(Retention::default().events(80));
    let on = |stream: &'static str| move |number: u64| Note::new(number.to_string()).on(stream);
    put(
        &target,
        [
            Note::new("0").on("ended").opening(1),
            Note::new("0").on("open").opening(1),
        ],
    );
    put(
        &target,
        (1..9).map(on("ended")).chain((1..9).map(on("open"))),
    );
    // Both streams are carried when the first one ends: 18 of the 20 allowed events.
    put(&target, short(0..60));
    put(&target, [Note::new("9").on("ended").closing(1)]);
    put(&target, short(100..140));
    assert_eq!(transcript(&target, "ended").len(), 10);
    assert_eq!(transcript(&target, "open").len(), 9);
    put(&target, (9..11).map(on("open")));
    put(&target, short(200..260));
    // 21 carried events would be too many. The ended stream is removed, and the larger open one is complete.
    let open: Vec<u64> = (0..11).collect();
    let lines: Vec<String> = transcript(&target, "open");
    let payloads: Vec<u64> = lines
        .iter()
        .map(|one| one.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(payloads, open);
    let known = Connection::open(&target, Subscribe::to(key("ended"))).transcript();
    assert_eq!(
        known,
        ["ping {\"dropped\":{\"ends\":0,\"other\":0,\"starts\":0},\"head\":341,\"known\":false}"]
    );
}
