//! The store notices if another program trims, deletes or evicts its entries, or lets them expire.
//! It reads the missing events from another key, or `oldest()` reports the loss.

use std::time::Duration;

use livespan::{
    EventStore as _, Retention,
    sse::{Pinning, Sequence},
    store::{OpenEventRecovery as _, PageLimit},
};

use super::{
    handle::{Handle, key, note, shown, texts},
    server::Server,
};
use crate::support::block_on;

fn ten(handle: &Handle) {
    for number in 1..=10 {
        let stream = if number % 2 == 0 { "a" } else { "b" };
        let stream = if number % 5 == 0 { "" } else { stream };
        handle.append(&[note(stream, &number.to_string())]);
    }
}

const OF_A: [(u64, &str); 6] = [(2, "2"), (4, "4"), (5, "5"), (6, "6"), (8, "8"), (10, "10")];

#[test]
fn events_of_a_stream_whose_key_is_gone_are_read_from_the_log() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    ten(&handle);
    assert_eq!(shown(&handle.read_stream("a", 0)), texts(&OF_A));
    for words in [
        &["XDEL", "{livespan}:s:a", "6-0"][..],
        &["XTRIM", "{livespan}:s:a", "MINID", "6"],
        &["DEL", "{livespan}:s:a"],
        &["DEL", "{livespan}:every"],
        &["DEL", "{livespan}:streams"],
    ] {
        server.command::<redis::Value>(words);
        assert_eq!(
            shown(&handle.read_stream("a", 0)),
            texts(&OF_A),
            "{words:?}"
        );
        assert_eq!(
            shown(&handle.read_stream("a", 4)),
            texts(&OF_A[2..]),
            "{words:?}"
        );
    }
    handle.append(&[note("a", "11"), note("", "12"), note("b", "13")]);
    let mut all = OF_A.to_vec();
    all.extend([(11, "11"), (12, "12")]);
    assert_eq!(shown(&handle.read_stream("a", 0)), texts(&all));
    assert_eq!(shown(&handle.read_stream("a", 10)), texts(&all[6..]));
}

#[test]
fn a_stream_whose_key_was_damaged_is_whole_until_retention_has_passed_it() {
    let server = Server::start();
    let retention = Retention::default().events(8);
    let handle = Handle::open_with(&server.url(), |builder| builder.retention(retention));
    for number in 1..=6 {
        handle.append(&[note("a", &number.to_string())]);
    }
    server.command::<u64>(&["DEL", "{livespan}:s:a"]);
    for number in 7..=30_u64 {
        handle.append(&[note("a", &number.to_string())]);
        let oldest = handle.oldest();
        assert_eq!(oldest, number.saturating_sub(7).max(1));
        let expected: Vec<(u64, String)> =
            (oldest..=number).map(|at| (at, at.to_string())).collect();
        assert_eq!(shown(&handle.read_stream("a", 0)), expected);
    }
    assert_eq!(server.command::<u64>(&["ZCARD", "{livespan}:lost"]), 0);
}

#[test]
fn a_log_that_others_trimmed_begins_later() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    ten(&handle);
    server.command::<u64>(&["XTRIM", "{livespan}:log", "MINID", "4"]);
    let late: Vec<(u64, String)> = (4..=10).map(|at| (at, at.to_string())).collect();
    assert_eq!(shown(&handle.read(0)), late);
    assert_eq!(handle.oldest(), 4);
    assert_eq!(shown(&handle.read_stream("a", 0)), texts(&OF_A[1..]));
    server.command::<u64>(&["XDEL", "{livespan}:log", "7-0"]);
    let hole: Vec<(u64, String)> = late.iter().filter(|(at, _)| *at != 7).cloned().collect();
    assert_eq!(shown(&handle.read(0)), hole);
    server.command::<u64>(&["DEL", "{livespan}:log"]);
    assert_eq!(shown(&handle.read(0)), []);
    assert_eq!(handle.oldest(), 11);
    assert_eq!(handle.append(&[note("a", "11")]), 11);
    assert_eq!(shown(&handle.read(0)), texts(&[(11, "11")]));
    assert_eq!(handle.firsts(), [1]);
}

#[test]
fn a_log_whose_state_was_deleted_begins_an_epoch_above_its_events() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    ten(&handle);
    server.command::<u64>(&["DEL", "{livespan}:meta"]);
    assert_eq!(handle.insist(&[note("a", "11")]), 11);
    assert_eq!(handle.firsts(), [1, 11]);
    let all: Vec<(u64, String)> = (1..=11).map(|at| (at, at.to_string())).collect();
    assert_eq!(shown(&handle.read(0)), all);
    let mut of_a = OF_A.to_vec();
    of_a.push((11, "11"));
    assert_eq!(shown(&handle.read_stream("a", 0)), texts(&of_a));
}

#[test]
fn keys_of_streams_do_not_expire_before_the_log_evicts() {
    let server = Server::start();
    let age = Duration::from_secs(3600);
    let short = Handle::open_with(&server.url(), |builder| {
        let retention = Retention::default().age(age);
        builder
            .retention(retention)
            .trace_ttl(Duration::from_secs(1))
    });
    short.append(&[note("a", "1")]);
    let left: u64 = server.command(&["PTTL", "{livespan}:s:a"]);
    assert!((3_600_000..=3_885_000).contains(&left), "{left}");
    let long = Handle::open_with(&server.url(), |builder| {
        builder.prefix("long").trace_ttl(Duration::from_secs(7200))
    });
    long.append(&[note("a", "1")]);
    let left: u64 = server.command(&["PTTL", "{long}:s:a"]);
    assert!((91_800_000..=91_860_000).contains(&left), "{left}");
}

#[test]
fn retention_leaves_no_key_of_a_stream_behind() {
    let server = Server::start();
    let retention = Retention::default().events(4);
    let handle = Handle::open_with(&server.url(), |builder| builder.retention(retention));
    for number in 1..=50 {
        handle.append(&[(&format!("stream {number}"), Pinning::None, b"x")]);
    }
    let mut keys: Vec<String> = server.command(&["KEYS", "{livespan}:s:*"]);
    keys.sort_unstable();
    let kept: Vec<String> = (47..=50)
        .map(|number| format!("{{livespan}}:s:stream {number}"))
        .collect();
    assert_eq!(keys, kept);
    let limit = 3;
    let listed = block_on(handle.0.streams_before(Sequence::new(51), limit)).unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|stream| (stream.key, stream.first.get()))
        .collect();
    let expected = [50, 49, 48].map(|number| (key(&format!("stream {number}")), number));
    assert_eq!(listed, expected);
    // Retention by age works even without appends.
    let old = Handle::open_with(&server.url(), |builder| {
        builder.retention(Retention::default().age(Duration::ZERO))
    });
    crate::support::until(|| {
        old.0.recover_open_events().unwrap();
        old.oldest() == 51
    });
    let page = block_on(old.0.read_after(Sequence::START, PageLimit::default())).unwrap();
    assert_eq!(page, []);
    assert_eq!(
        server.command::<Vec<String>>(&["KEYS", "{livespan}:s:*"]),
        Vec::<String>::new()
    );
}
