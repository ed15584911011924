//! Entries that another program wrote into the Redis keys of a log are not served. Each becomes a
//! gap of one event, and reading continues.

use futures_util::StreamExt as _;
use livespan::{
    RedisEventStore, SseEvent, SseTarget,
    sse::{Message, StreamKey, Subscribe},
};

use super::{
    super::tail::WithTail,
    handle::{Handle, key, note},
    server::Server,
};
use crate::support::{PATIENCE, block_on};

const GAP: &str = "gap {\"type\":\"gap\",\"reason\":\"damaged\",\"lost\":1}";

struct Text(&'static str);

impl SseEvent for Text {
    fn name(&self) -> &'static str {
        "note"
    }

    fn stream_key(&self) -> Option<StreamKey> {
        Some(key("a"))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

/// Adds an entry to one of the log's streams, as another program could.
fn plant(server: &Server, key: &str, id: u64, fields: &[&[u8]]) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut command = redis::cmd("XADD");
    command
        .arg(format!("{{livespan}}:{key}"))
        .arg(format!("{id}-0"));
    for field in fields {
        command.arg(*field);
    }
    command.exec(&mut connection).unwrap();
}

fn open(server: &Server) -> SseTarget<Text> {
    let store = RedisEventStore::new(server.url()).unwrap();
    let store = WithTail(store, 1);
    SseTarget::builder().store(store).build().unwrap()
}

/// Returns the events that a new reader gets up to the sequence `last`, as `sequence name payload`.
fn transcript(target: &SseTarget<Text>, subscribe: Subscribe, last: u64) -> Vec<String> {
    let mut subscription = target.subscribe(subscribe);
    block_on(async {
        let mut transcript = Vec::new();
        loop {
            let Message::Event(event) = subscription.next().await.unwrap() else {
                continue;
            };
            let payload = String::from_utf8_lossy(&event.payload).into_owned();
            transcript.push(format!("{} {} {payload}", event.id.sequence(), event.name));
            if event.id.sequence().get() == last {
                return transcript;
            }
        }
    })
}

fn entry<'a>(name: &'a [u8], key: &'a [u8], payload: &'a [u8]) -> Vec<&'a [u8]> {
    vec![
        b"n", name, b"k", key, b"p", b"", b"b", b"0", b"t", b"0", b"d", payload,
    ]
}

#[test]
fn malformed_entries_are_gaps_and_reading_continues() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1"), note("", "2")]);
    let name = vec![b'n'; 100_000];
    let long_key = [b'k'; 64];
    plant(&server, "log", 3, &entry(b"x\nid: evil-1", b"", b"y"));
    plant(
        &server,
        "every",
        3,
        &[b"n", b"x\nid: evil-1", b"p", b"", b"d", b"y"],
    );
    plant(&server, "log", 4, &entry(b"note", b"", b"\xff\xfe"));
    plant(
        &server,
        "every",
        4,
        &[b"n", b"note", b"p", b"", b"d", b"\xff\xfe"],
    );
    plant(&server, "log", 5, &entry(&name, b"a", b"y"));
    plant(&server, "s:a", 5, &[b"n", &name, b"p", b"", b"d", b"y"]);
    plant(&server, "log", 6, &entry(b"note", &long_key, b"y"));
    plant(&server, "log", 7, &[b"foo", b"bar"]);
    plant(&server, "log", 8, &entry(b"n\xff", b"a", b"y"));
    plant(&server, "s:a", 8, &[b"n", b"n\xff", b"p", b"", b"d", b"y"]);
    assert_eq!(handle.append(&[note("a", "9"), note("", "10")]), 9);
    for target in [open(&server), open(&server)] {
        let gaps = (3..=8).map(|sequence| format!("{sequence} {GAP}"));
        let mut all = vec!["1 note 1".to_owned(), "2 note 2".to_owned()];
        all.extend(gaps);
        all.extend(["9 note 9".to_owned(), "10 note 10".to_owned()]);
        assert_eq!(transcript(&target, Subscribe::all(), 10), all);
        let of_a = [
            "1 note 1",
            "2 note 2",
            &format!("3 {GAP}"),
            &format!("4 {GAP}"),
            &format!("5 {GAP}"),
            &format!("8 {GAP}"),
            "9 note 9",
            "10 note 10",
        ];
        assert_eq!(transcript(&target, Subscribe::to(key("a")), 10), of_a);
        let health = target.health();
        assert_eq!((health.failure, health.damaged_events), (None, 6));
        target.try_dispatch(&Text("more")).unwrap();
        target.flush(PATIENCE).unwrap();
        target.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn an_entry_only_in_the_list_of_global_events_is_a_gap_of_one() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("", "1"), note("a", "2")]);
    plant(
        &server,
        "every",
        5,
        &[b"n", b"x\nid: evil-1", b"p", b"", b"d", b"y"],
    );
    handle.append(&[note("a", "3")]);
    let target = open(&server);
    assert_eq!(
        transcript(&target, Subscribe::all(), 3),
        ["1 note 1", "2 note 2", "3 note 3"]
    );
    let of_a = ["1 note 1", "2 note 2", "3 note 3", &format!("5 {GAP}")];
    assert_eq!(transcript(&target, Subscribe::to(key("a")), 5), of_a);
    assert_eq!(target.health().failure, None);
}

/// A row that is not a stream, or a key of another type, does not hinder the listing and reading of
/// other streams.
#[test]
fn lists_leave_out_rows_and_keys_that_are_not_streams() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1"), note("b", "2"), note("c", "3")]);
    let long = "k".repeat(64);
    server.command::<()>(&["ZADD", "{livespan}:streams", "2", &long]);
    server.command::<()>(&["SET", &format!("{{livespan}}:s:{long}"), "no stream"]);
    server.command::<()>(&["SET", "{livespan}:s:b", "no stream"]);
    let streams = |handle: &Handle| {
        use livespan::EventStore as _;
        let list = handle.0.streams_before(livespan::sse::Sequence::new(9), 9);
        let list = block_on(list).unwrap();
        let mut keys: Vec<StreamKey> = list.iter().map(|stream| stream.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(streams(&handle), [key("a"), key("b"), key("c")]);
    assert_eq!(
        handle.read_stream("b", 0).len(),
        1,
        "the event was not read from the log itself"
    );
}

/// A foreign entry has no time and no byte position. It must not make retention remove events too early.
#[test]
fn foreign_entries_do_not_make_retention_remove_events_too_early() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    for number in 1..=20 {
        handle.append(&[note("a", &number.to_string())]);
    }
    plant(&server, "log", 21, &[b"foo", b"bar"]);
    for number in 22..=40 {
        assert_eq!(handle.append(&[note("a", &number.to_string())]), number);
    }
    assert_eq!(handle.oldest(), 1);
    assert_eq!(handle.read(0).len(), 40);
    drop(handle);
    let narrow = livespan::Retention::default().events(20);
    let handle = Handle::open_with(&server.url(), |builder| builder.retention(narrow));
    assert_eq!(handle.append(&[note("a", "41")]), 41);
    assert_eq!(handle.oldest(), 22);
}
