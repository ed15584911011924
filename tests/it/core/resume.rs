//! The position at which a stream resumes, and the exact bytes at its beginning.

use livespan::{MemoryEventStore, Retention, SseTarget, sse::Subscribe};

use super::{
    connection::{Connection, normal},
    test_event::{Note, builder, key, put},
};

fn numbered(count: u64) -> impl Iterator<Item = Note> {
    (1..=count).map(|number| Note::new(format!("n{number}")))
}

/// Returns a log that still has the events 4 to 6 of 6.
fn log() -> SseTarget<Note> {
    let target = builder()
        .store(MemoryEventStore::with_retention(
            Retention::default().events(3),
        ))
        .build()
        .unwrap();
    put(&target, numbered(6));
    target
}

fn epoch(target: &SseTarget<Note>) -> String {
    target.head().epoch().to_string()
}

const RETAINED: [&str; 3] = ["note 4 n4", "note 5 n5", "note 6 n6"];

fn after(first: &str) -> Vec<String> {
    std::iter::once(first)
        .chain(RETAINED)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_head_and_the_events_of_a_stream_are_exact() {
    let target = log();
    let epoch = epoch(&target);
    let bytes = Connection::resume(&target, Subscribe::all(), &format!("{epoch}-1")).bytes();
    assert_eq!(
        normal(&bytes, &epoch),
        "retry: JITTER\n\n\
         event: hello\n\
         data: {\"type\":\"hello\",\"protocol\":1,\"epoch\":\"EPOCH\",\"oldest\":\"EPOCH-4\",\"head\":\"EPOCH-6\",\
         \"now\":\"NOW\",\"pingSeconds\":15,\"server\":\"livespan/0.1.0\"}\n\n\
         event: gap\n\
         data: {\"type\":\"gap\",\"reason\":\"evicted\",\"from\":\"EPOCH-2\",\"to\":\"EPOCH-3\",\"lost\":2}\n\n\
         event: note\nid: EPOCH-4\ndata: n4\n\n\
         event: note\nid: EPOCH-5\ndata: n5\n\n\
         event: note\nid: EPOCH-6\ndata: n6\n\n"
    );
}

#[test]
fn the_oldest_event_of_an_empty_log_is_the_next_one() {
    let target = builder().build().unwrap();
    let epoch = epoch(&target);
    assert_eq!(
        normal(&Connection::open(&target, Subscribe::all()).bytes(), &epoch),
        "retry: JITTER\n\n\
         event: hello\n\
         data: {\"type\":\"hello\",\"protocol\":1,\"epoch\":\"EPOCH\",\"oldest\":\"EPOCH-1\",\"head\":\"EPOCH-0\",\
         \"now\":\"NOW\",\"pingSeconds\":15,\"server\":\"livespan/0.1.0\"}\n\n"
    );
}

#[test]
fn a_response_is_an_event_stream_that_no_proxy_may_buffer() {
    let target = builder().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _runtime = runtime.enter();
    let response = target.respond(
        Subscribe::all(),
        &http::HeaderMap::new(),
        &http::Uri::from_static("/"),
    );
    assert_eq!(response.status(), 200);
    let headers: Vec<(&str, &str)> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no")
        ]
    );
}

#[test]
fn without_a_resume_point_nothing_counts_as_missed() {
    assert_eq!(
        Connection::open(&log(), Subscribe::all()).transcript(),
        RETAINED
    );
}

#[test]
fn a_known_id_resumes_right_after_its_event() {
    let target = log();
    for (sequence, expected) in [
        (3, &RETAINED[..]),
        (4, &RETAINED[1..]),
        (5, &RETAINED[2..]),
        (6, &[]),
    ] {
        for id in [
            format!("{}-{sequence}", epoch(&target)),
            sequence.to_string(),
        ] {
            assert_eq!(
                Connection::resume(&target, Subscribe::all(), &id).transcript(),
                expected,
                "{id}"
            );
        }
    }
}

#[test]
fn an_evicted_id_is_an_exact_gap() {
    let target = log();
    for (sequence, lost) in [(0, 3), (1, 2), (2, 1)] {
        let gap = format!(
            "gap {{\"from\":{},\"lost\":{lost},\"reason\":\"evicted\",\"to\":3}}",
            sequence + 1
        );
        for id in [
            format!("{}-{sequence}", epoch(&target)),
            sequence.to_string(),
        ] {
            assert_eq!(
                Connection::resume(&target, Subscribe::all(), &id).transcript(),
                after(&gap),
                "{id}"
            );
        }
    }
}

#[test]
fn an_id_of_another_epoch_or_above_the_head_is_unknown_and_gets_everything() {
    let target = log();
    let above = format!("{}-7", epoch(&target));
    for id in [
        "zzzzzzzz-5",
        above.as_str(),
        "7",
        "18446744073709551615",
        "zzzzzzzz-18446744073709551615",
    ] {
        let transcript = Connection::resume(&target, Subscribe::all(), id).transcript();
        assert_eq!(
            transcript,
            after("gap {\"lost\":null,\"reason\":\"epoch\"}"),
            "{id}"
        );
    }
}

#[test]
fn a_malformed_id_means_the_beginning() {
    let target = log();
    let long = "g".repeat(10_000);
    let beginning = after("gap {\"from\":1,\"lost\":3,\"reason\":\"evicted\",\"to\":3}");
    for id in [
        "garbage",
        "-",
        "-5",
        "1.5",
        "zzzzzzzz-",
        "99999999999999999999",
        long.as_str(),
    ] {
        assert_eq!(
            Connection::resume(&target, Subscribe::all(), id).transcript(),
            beginning,
            "{id}"
        );
    }
    let binary =
        Connection::request(&target, Subscribe::all(), "/", Some(&[0xff, 0xfe, 0x80])).transcript();
    assert_eq!(binary, beginning);
}

#[test]
fn a_malformed_id_is_answered_with_a_gap() {
    let target = builder().build().unwrap();
    put(&target, numbered(1));
    for (id, transcript) in [
        (
            "garbage",
            ["gap {\"lost\":null,\"reason\":\"epoch\"}", "note 1 n1"].as_slice(),
        ),
        ("0", ["note 1 n1"].as_slice()),
    ] {
        assert_eq!(
            Connection::resume(&target, Subscribe::all(), id).transcript(),
            transcript,
            "{id}"
        );
    }
}

#[test]
fn an_empty_header_is_no_header() {
    let target = log();
    assert_eq!(
        Connection::resume(&target, Subscribe::all(), "").transcript(),
        RETAINED
    );
    let query =
        Connection::request(&target, Subscribe::all(), "/?lastEventId=5", Some(b"")).transcript();
    assert_eq!(query, ["note 6 n6"]);
}

#[test]
fn the_query_resumes_as_the_header_does_and_the_header_wins() {
    let target = log();
    let transcript = |uri: &str, id: Option<&[u8]>| {
        Connection::request(&target, Subscribe::all(), uri, id).transcript()
    };
    assert_eq!(transcript("/?lastEventId=5", None), ["note 6 n6"]);
    assert_eq!(
        transcript(&format!("/x?a=b&lastEventId={}-5&c", epoch(&target)), None),
        ["note 6 n6"]
    );
    assert_eq!(transcript("/?lastEventId=5", Some(b"4")), RETAINED[1..]);
    assert_eq!(transcript("/?lastEventId=", None), RETAINED);
    // The percent-encoded id is the same id.
    assert_eq!(transcript("/?lastEventId=%35", None), ["note 6 n6"]);
}

#[test]
fn replay_none_sends_open_events_without_ids_and_then_a_cursor() {
    let target = builder().build().unwrap();
    let standing = Note::new("open").named("process").opening(1);
    put(
        &target,
        [
            Note::new("old"),
            standing,
            Note::new("keyed").on("a").opening(1),
        ],
    );
    put(
        &target,
        [
            Note::new("shut").named("process").opening(2),
            Note::new("done").closing(2),
        ],
    );
    let epoch = epoch(&target);
    let mut connection = Connection::request(&target, Subscribe::all(), "/?replay=none", None);
    put(
        &target,
        [
            Note::new("new"),
            Note::new("later").named("process").opening(3),
        ],
    );
    let bytes = connection.bytes();
    let (_, after_hello) = std::str::from_utf8(&bytes)
        .unwrap()
        .split_once("livespan/0.1.0\"}\n\n")
        .unwrap();
    assert_eq!(
        after_hello.replace(&epoch, "EPOCH"),
        "event: process\ndata: open\n\n\
         event: note\nid: EPOCH-6\ndata: new\n\n\
         event: process\nid: EPOCH-7\ndata: later\n\n\
         id: EPOCH-7\n\n"
    );
    let mut quiet = Connection::request(&target, Subscribe::all(), "/?replay=none", None);
    assert_eq!(
        quiet.transcript(),
        ["process - open", "process - later", "cursor 7"]
    );
}

#[test]
fn replay_none_yields_to_a_resume_point() {
    let target = log();
    let transcript = |uri: &str, id: Option<&[u8]>| {
        Connection::request(&target, Subscribe::all(), uri, id).transcript()
    };
    assert_eq!(transcript("/?replay=none", Some(b"5")), ["note 6 n6"]);
    assert_eq!(
        transcript("/?replay=none&lastEventId=5", None),
        ["note 6 n6"]
    );
    assert_eq!(transcript("/?replay=all", None), RETAINED);
}

#[test]
fn a_stream_gets_its_own_events_and_those_of_every_stream() {
    let target = builder().build().unwrap();
    put(
        &target,
        [
            Note::new("1").on("a"),
            Note::new("2").on("b"),
            Note::new("3"),
            Note::new("4").on("a"),
        ],
    );
    let transcript = |options| Connection::open(&target, options).transcript();
    assert_eq!(
        transcript(Subscribe::to(key("a"))),
        ["note 1 1", "note 3 3", "note 4 4"]
    );
    assert_eq!(
        transcript(Subscribe::to(key("b"))),
        ["note 2 2", "note 3 3"]
    );
    assert_eq!(
        transcript(Subscribe::to(key("b")).stream(key("a"))),
        ["note 1 1", "note 2 2", "note 3 3", "note 4 4"]
    );
}

#[test]
fn a_filter_passes_accepted_events_and_those_of_every_stream() {
    let target = builder().build().unwrap();
    put(
        &target,
        [
            Note::new("1").on("a"),
            Note::new("2").on("b"),
            Note::new("3"),
            Note::new("4").on("a").named("x"),
        ],
    );
    let payload = Subscribe::all().filter(|_, payload| payload == b"2");
    assert_eq!(
        Connection::open(&target, payload).transcript(),
        ["note 2 2", "note 3 3"]
    );
    let name = Subscribe::to(key("a")).filter(|name, _| name == "x");
    assert_eq!(
        Connection::open(&target, name).transcript(),
        ["note 3 3", "x 4 4"]
    );
}
