//! Reads and waits: equal queries are sent once, pages may have any payload, and a wait is not
//! woken by events of other streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use livespan::{
    EventStore as _,
    sse::{Pinning, Sequence},
    store::PageLimit,
};

use super::{
    handle::{Handle, key, note},
    server::Server,
};
use crate::support::{PATIENCE, block_on, until};

/// Returns how often the server has executed a command.
fn calls(server: &Server, command: &str) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn equal_queries_of_many_readers_are_sent_once() {
    let server = Server::start();
    let handle = Handle::open_with(&server.url(), |builder| {
        builder.heartbeat(Duration::from_secs(600))
    });
    handle.append(&[note("a", "1")]);
    handle.read_stream("a", 0);
    let before = calls(&server, "evalsha");
    server.signal("-STOP");
    let store = Arc::clone(&handle.0);
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let asking = thread::spawn(move || {
        block_on(async {
            let keys = [key("a")];
            let reads = (0..50).map(|_| {
                let read = store.read_streams_after(&keys, Sequence::START, PageLimit::default());
                let asked = Arc::clone(&counting);
                async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    read.await.unwrap()
                }
            });
            futures_util::future::join_all(reads).await
        })
    });
    until(|| asked.load(Ordering::SeqCst) == 50);
    server.signal("-CONT");
    let pages = asking.join().unwrap();
    for page in &pages {
        assert_eq!(page, &pages[0]);
        assert_eq!(page.len(), 1);
    }
    // One query for the first readers, and one for those that joined while it was running.
    let asked = calls(&server, "evalsha") - before;
    assert!((1..=2).contains(&asked), "{asked}");
}

#[test]
fn payloads_of_every_byte_and_size_are_read_back() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    let every_byte: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let largest: Vec<u8> = (0..=255).rev().cycle().take(256 * 1024).collect();
    let payloads = [&b""[..], &every_byte, &largest, b"\r\n\0", &largest];
    for payload in payloads {
        handle.append(&[
            ("a", Pinning::Open(1), payload),
            ("", Pinning::None, payload),
        ]);
    }
    let of = |events: Vec<livespan::store::StoredEvent>| -> Vec<Vec<u8>> {
        events
            .into_iter()
            .map(|event| event.payload.to_vec())
            .collect()
    };
    let expected: Vec<Vec<u8>> = payloads
        .iter()
        .flat_map(|payload| [payload.to_vec(), payload.to_vec()])
        .collect();
    assert_eq!(of(handle.read(0)), expected);
    assert_eq!(of(handle.read_stream("a", 0)), expected);
}

#[test]
fn a_wait_for_one_stream_is_not_woken_by_events_of_other_streams() {
    let server = Server::start();
    let handle = Handle::open_with(&server.url(), |builder| {
        builder.heartbeat(Duration::from_secs(600))
    });
    handle.append(&[note("a", "1")]);
    let store = Arc::clone(&handle.0);
    let waiting = thread::spawn(move || {
        let follow = store.shared_log().unwrap();
        follow
            .wait_streams(&[(key("a"), Sequence::new(1))], Sequence::START, PATIENCE)
            .unwrap()
    });
    let blocked = || {
        server
            .command::<String>(&["INFO", "clients"])
            .contains("blocked_clients:1")
    };
    until(blocked);
    let before = calls(&server, "xread");
    for number in 0..500 {
        handle.append(&[note(&format!("other {}", number % 10), "x")]);
    }
    // The store renews its wait every two seconds.
    let taken_up = calls(&server, "xread") - before;
    assert!(taken_up < 100, "{taken_up}");
    assert!(!waiting.is_finished());
    assert_eq!(
        handle.append(&[note("a", "news"), note("a", "newest")]),
        502
    );
    assert_eq!(
        waiting.join().unwrap(),
        [(Some(key("a")), Sequence::new(503))]
    );
}

#[test]
fn a_wait_goes_on_after_the_server_was_away() {
    let server = Server::start_with(&[
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    server.kill();
    let follow = handle.0.shared_log().unwrap();
    until(|| {
        follow
            .wait_after(Sequence::new(1), PageLimit::default(), Duration::ZERO)
            .is_err()
    });
    server.restart();
    handle.insist(&[note("a", "2")]);
    until(|| {
        let page = follow.wait_after(Sequence::new(1), PageLimit::default(), PATIENCE);
        page.is_ok_and(|page| page.len() == 1)
    });
}

#[test]
fn a_wait_ends_when_interrupted_even_without_the_permission_to_unblock_it() {
    let server = Server::start();
    let rule = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">pw",
        "~*",
        "+@all",
        "-client|unblock",
        "-client|id",
    ];
    server.command::<()>(&rule);
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let handle = Handle::open(&url);
    handle.append(&[note("a", "1")]);
    let store = Arc::clone(&handle.0);
    let waiting = thread::spawn(move || {
        let follow = store.shared_log().unwrap();
        follow
            .wait_after(Sequence::new(1), PageLimit::default(), PATIENCE)
            .unwrap()
    });
    until(|| {
        server
            .command::<String>(&["INFO", "clients"])
            .contains("blocked_clients:1")
    });
    handle.0.shared_log().unwrap().interrupt();
    assert_eq!(waiting.join().unwrap(), []);
}

#[test]
fn reads_during_an_outage_fail_and_work_again_after_it() {
    let server = Server::start();
    let handle = Handle::open_with(&server.url(), |builder| {
        let short = Duration::from_millis(100);
        builder.connect_timeout(short).response_timeout(short)
    });
    handle.insist(&[note("a", "1")]);
    server.signal("-STOP");
    let read = || block_on(handle.0.read_after(Sequence::START, PageLimit::default()));
    assert!(read().unwrap_err().is_store());
    server.signal("-CONT");
    until(|| read().is_ok_and(|page| page.len() == 1));
}

#[test]
fn a_dropped_store_ends_its_threads_and_connections() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    handle.read(0);
    drop(handle);
    // Only the connection that requests the list is left.
    until(|| {
        server
            .command::<String>(&["CLIENT", "LIST"])
            .lines()
            .count()
            == 1
    });
}
