//! An opening event outlives retention, under its own id, until it is closed.

use livespan::{MemoryEventStore, Retention, SseTarget, sse::Subscribe};

use super::{
    connection::{Connection, Frame},
    test_event::{Note, builder, flush, key, put},
};

fn keeping(events: usize) -> SseTarget<Note> {
    builder()
        .store(MemoryEventStore::with_retention(
            Retention::default().events(events),
        ))
        .build()
        .unwrap()
}

fn filler(count: u64) -> impl Iterator<Item = Note> {
    (0..count).map(|_| Note::new("-").on("filler"))
}

#[test]
fn an_open_event_outlives_retention_and_is_replayed_first_with_its_id() {
    let target = keeping(2);
    put(
        &target,
        [
            Note::new("-").on("a"),
            Note::new("open").on("a").opening(7),
            Note::new("other").on("b"),
        ],
    );
    put(&target, filler(5));
    put(&target, [Note::new("now").on("a")]);
    let transcript = |options, id: &str| Connection::resume(&target, options, id).transcript();
    let open = Connection::open(&target, Subscribe::all()).transcript();
    assert_eq!(open, ["note 2 open", "note 8 -", "note 9 now"]);
    let all = "gap {\"from\":1,\"lost\":6,\"reason\":\"evicted\",\"to\":7}";
    assert_eq!(
        transcript(Subscribe::all(), "0"),
        [all, "note 2 open", "note 8 -", "note 9 now"]
    );
    let later = "gap {\"from\":3,\"lost\":5,\"reason\":\"evicted\",\"to\":7}";
    assert_eq!(
        transcript(Subscribe::all(), "2"),
        [later, "note 8 -", "note 9 now"],
        "the reader got the open event again"
    );

    let keyed = "gap {\"from\":1,\"lost\":1,\"reason\":\"evicted\",\"to\":7}";
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        [keyed, "note 2 open", "note 9 now"]
    );
    let mut watcher = Connection::resume(&target, Subscribe::to(key("a")), "0");
    assert_eq!(watcher.transcript(), [keyed, "note 2 open", "note 9 now"]);
}

#[test]
fn closing_releases_the_open_event() {
    let target = keeping(2);
    put(
        &target,
        [
            Note::new("open").on("a").opening(7),
            Note::new("open b").on("b").opening(7),
        ],
    );
    put(&target, filler(3));
    put(&target, [Note::new("closed").on("a").closing(7)]);
    // The same token on another stream is a different token.
    assert_eq!(
        Connection::open(&target, Subscribe::all()).transcript(),
        ["note 2 open b", "note 5 -", "note 6 closed"]
    );
    put(&target, filler(2));
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        [unknown(8)]
    );
}

/// Returns the text of the ping that a reader of an unknown stream gets.
fn unknown(head: u64) -> String {
    format!(
        "ping {{\"dropped\":{{\"ends\":0,\"other\":0,\"starts\":0}},\"head\":{head},\"known\":false}}"
    )
}

#[test]
fn a_stream_with_only_an_open_event_stays_known() {
    let target = keeping(1);
    put(&target, [Note::new("open").on("a").opening(1)]);
    put(&target, filler(3));
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        ["note 1 open"]
    );
}

#[test]
fn an_open_event_without_a_stream_comes_first_on_every_stream() {
    let target = keeping(1);
    put(
        &target,
        [
            Note::new("process").opening(1),
            Note::new("a").on("a").opening(1),
        ],
    );
    put(&target, filler(3));
    assert_eq!(
        Connection::open(&target, Subscribe::all()).transcript(),
        ["note 1 process", "note 2 a", "note 5 -"]
    );
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        ["note 1 process", "note 2 a"]
    );
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("zz"))).transcript(),
        ["note 1 process".to_owned(), unknown(5)]
    );
}

#[test]
fn opening_a_token_again_replaces_its_event() {
    let target = keeping(1);
    put(
        &target,
        [
            Note::new("first").on("a").opening(1),
            Note::new("second").on("a").opening(1),
        ],
    );
    put(&target, filler(2));
    assert_eq!(
        Connection::open(&target, Subscribe::to(key("a"))).transcript(),
        [
            "gap {\"from\":1,\"lost\":1,\"reason\":\"evicted\",\"to\":3}",
            "note 2 second"
        ]
    );
}

#[test]
fn more_open_events_than_the_bound_are_evicted_and_the_loss_is_exact() {
    let target = keeping(1);
    let over = 10;
    let total = Retention::PINNED_EVENTS_MAX as u64 + over;
    for token in 0..total {
        target
            .try_dispatch(&Note::new("").on("a").opening(token))
            .unwrap();
        if token % 10_000 == 0 {
            flush(&target);
        }
    }
    put(&target, filler(1));
    let frames = Connection::resume(&target, Subscribe::all(), "0").frames();
    let (gaps, kept): (Vec<&Frame>, Vec<&Frame>) =
        frames.iter().partition(|frame| frame.get("id").is_none());
    let lost: u64 = gaps
        .iter()
        .map(|gap| gap.json()["lost"].as_u64().unwrap())
        .sum();
    assert_eq!(lost, over);
    let kept: Vec<u64> = kept.into_iter().filter_map(Frame::sequence).collect();
    assert_eq!(
        kept,
        (1..=Retention::PINNED_EVENTS_MAX as u64)
            .chain([total + 1])
            .collect::<Vec<_>>()
    );
}

#[test]
fn more_open_bytes_than_the_bound_are_evicted_and_the_loss_is_exact() {
    let target = keeping(1);
    let large = "x".repeat(200_000);
    let total = Retention::PINNED_BYTES_MAX as u64 / 200_000 + 5;
    for token in 0..total {
        put(&target, [Note::new(large.clone()).on("a").opening(token)]);
    }
    put(&target, filler(1));
    let frames = Connection::resume(&target, Subscribe::to(key("a")), "0").frames();
    let kept: Vec<u64> = frames.iter().filter_map(Frame::sequence).collect();
    let fit = Retention::PINNED_BYTES_MAX as u64 / (200_000 + 38);
    assert_eq!(kept, (1..=fit).collect::<Vec<_>>());
    assert_eq!(frames[0].json()["lost"], total - fit);
}
