//! A server that hangs, dies, is full or loses answers. Appends fail in time, are retried, and
//! store nothing twice.

use std::time::{Duration, Instant};

use livespan::EventStore as _;

use super::{
    handle::{Handle, note, shown, texts},
    proxy::{Hold, Proxy},
    server::Server,
};
use crate::support::{PATIENCE, block_on, causes, until};

const DURABLE: [&str; 6] = [
    "--save",
    "",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
];

#[test]
fn a_batch_whose_answer_was_lost_is_stored_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let handle = Handle::open(&proxy.url());
    assert_eq!(handle.append(&[note("a", "1")]), 1);
    let same = [note("a", "same"), note("a", "same")];
    for first in [2, 4, 6] {
        proxy.lose_answers(2);
        handle.try_append(&same).unwrap_err();
        proxy.lose_answers(1);
        handle.try_append(&same).unwrap_err();
        assert_eq!(handle.append(&same), first);
    }
    // The log may give up on a batch. Its next append is then another batch, even if the store has
    // kept the first.
    proxy.lose_answers(2);
    handle.try_append(&[note("a", "given up")]).unwrap_err();
    assert_eq!(handle.append(&[note("a", "another")]), 9);
    let expected = [
        (1, "1"),
        (2, "same"),
        (3, "same"),
        (4, "same"),
        (5, "same"),
        (6, "same"),
        (7, "same"),
        (8, "given up"),
        (9, "another"),
    ];
    assert_eq!(shown(&handle.read(0)), texts(&expected));
    assert_eq!(shown(&handle.read_stream("a", 0)), texts(&expected));
}

#[test]
fn a_connection_that_was_closed_between_two_appends_causes_no_error() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    server.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(handle.append(&[note("a", "2")]), 2);
}

#[test]
fn a_hung_server_fails_appends_in_time_and_retries_are_stored_once() {
    let server = Server::start();
    let timeout = Duration::from_millis(100);
    let handle = Handle::open_with(&server.url(), |builder| {
        builder.connect_timeout(timeout).response_timeout(timeout)
    });
    handle.insist(&[note("a", "1")]);
    server.signal("-STOP");
    let begun = Instant::now();
    let error = handle.try_append(&[note("a", "2")]).unwrap_err();
    // This bounds a hang; it does not measure speed.
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(
        causes(&error),
        [
            "append to the log in Redis".to_owned(),
            format!("Redis did not answer in time (127.0.0.1:{})", server.port())
        ]
    );
    server.signal("-CONT");
    assert_eq!(handle.insist(&[note("a", "2")]), 2);
    // A busy machine may be slower than the short time limit, so another store reads.
    let kept = Handle::open(&server.url()).read(0);
    assert_eq!(shown(&kept), texts(&[(1, "1"), (2, "2")]));
}

#[test]
fn a_slow_server_is_waited_for_and_a_too_slow_server_stores_nothing_twice() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let timeout = Duration::from_millis(200);
    let handle = Handle::open_with(&proxy.url(), |builder| {
        builder.connect_timeout(timeout).response_timeout(timeout)
    });
    handle.insist(&[note("a", "1")]);
    proxy.hold(Hold::Answers);
    handle.try_append(&[note("a", "2")]).unwrap_err();
    proxy.hold(Hold::Nothing);
    assert_eq!(handle.insist(&[note("a", "2")]), 2);
    assert!(proxy.appends() >= 3);
    // A busy machine may be slower than the short time limit, so another store reads.
    let kept = Handle::open(&server.url()).read(0);
    assert_eq!(shown(&kept), texts(&[(1, "1"), (2, "2")]));
}

#[test]
fn a_server_that_restarts_with_its_data_continues_in_the_same_epoch() {
    let server = Server::start_with(&DURABLE);
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    let epochs = handle.0.epochs();
    server.kill();
    let error = causes(&handle.try_append(&[note("a", "2")]).unwrap_err());
    assert_eq!(error[0], "append to the log in Redis");
    assert!(
        error[1].starts_with("no connection to Redis: "),
        "{error:?}"
    );
    server.restart();
    assert_eq!(handle.insist(&[note("a", "2")]), 2);
    assert_eq!(shown(&handle.read(0)), texts(&[(1, "1"), (2, "2")]));
    assert_eq!(handle.0.epochs(), epochs);
}

#[test]
fn a_full_server_refuses_whole_batches_and_accepts_them_when_it_has_room() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let two = [note("a", "2"), note("b", "3")];
    for _ in 0..3 {
        assert_eq!(
            causes(&handle.try_append(&two).unwrap_err()),
            [
                "append to the log in Redis".to_owned(),
                format!(
                    "Redis is full: its maxmemory is reached and its policy evicts nothing (127.0.0.1:{})",
                    server.port()
                )
            ]
        );
    }
    // Reads, heartbeats and retention continue.
    assert_eq!(shown(&handle.read(0)), texts(&[(1, "1")]));
    Handle::open(&server.url());
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(handle.append(&two), 2);
    assert_eq!(
        shown(&handle.read(0)),
        texts(&[(1, "1"), (2, "2"), (3, "3")])
    );
}

#[test]
fn after_a_replica_refuses_an_append_the_other_node_is_tried() {
    let (first, second) = (Server::start(), Server::start());
    let second_port = second.port().to_string();
    let handle = Handle::open_with(&first.url(), |builder| builder.node(second.url()));
    handle.append(&[note("a", "1")]);
    second.command::<()>(&["REPLICAOF", "127.0.0.1", &first.port().to_string()]);
    until(|| {
        second
            .command::<String>(&["INFO", "replication"])
            .contains("master_link_status:up")
    });
    until(|| second.command::<u64>(&["XLEN", "{livespan}:log"]) == 1);
    // The second node becomes the master.
    second.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    first.command::<()>(&["REPLICAOF", "127.0.0.1", &second_port]);
    assert_eq!(handle.insist(&[note("a", "2")]), 2);
    assert_eq!(second.command::<u64>(&["XLEN", "{livespan}:log"]), 2);
}

#[test]
fn a_slot_that_moved_to_another_node_is_followed() {
    let options = ["--save", "", "--cluster-enabled", "yes"];
    let (first, second) = (Server::start_with(&options), Server::start_with(&options));
    let id: String = second.command(&["CLUSTER", "MYID"]);
    second.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    first.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &second.port().to_string()]);
    until(|| {
        let nodes: String = first.command(&["CLUSTER", "NODES"]);
        let is_ok = |server: &Server| {
            let info: String = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok")
        };
        nodes.contains(&id) && nodes.contains("0-16383") && is_ok(&first) && is_ok(&second)
    });
    let handle = Handle::open(&first.url());
    handle.append(&[note("a", "1"), note("", "2")]);
    assert_eq!(shown(&handle.read(0)), texts(&[(1, "1"), (2, "2")]));
    assert_eq!(second.command::<u64>(&["XLEN", "{livespan}:log"]), 2);
}

/// A closing store unregisters at a server that responds. It does not wait for a server that is
/// known to be unreachable.
#[test]
fn a_store_with_an_unreachable_server_answers_and_closes_without_waiting() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let server = Server::start();
    let handle = Handle::open_with(&server.url(), |builder| {
        builder.connect_timeout(TIMEOUT).response_timeout(TIMEOUT)
    });
    handle.insist(&[note("a", "1")]);
    server.signal("-STOP");
    handle.try_append(&[note("a", "2")]).unwrap_err();
    let begun = Instant::now();
    // Reads do not each wait for a server that is known to be unreachable.
    let reads = (0..10).map(|after| {
        let after = livespan::sse::Sequence::new(after);
        handle
            .0
            .read_after(after, livespan::store::PageLimit::default())
    });
    for read in block_on(futures_util::future::join_all(reads)) {
        let reason = format!("Redis did not answer in time (127.0.0.1:{})", server.port());
        assert_eq!(causes(&read.unwrap_err())[1], reason);
    }
    handle.0.close();
    handle.0.close();
    drop(handle);
    assert!(begun.elapsed() < TIMEOUT);
    server.signal("-CONT");
}

#[test]
fn a_closed_store_no_longer_counts_as_a_living_writer() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    let writers = || server.command::<u64>(&["ZCARD", "{livespan}:writers"]);
    assert_eq!(writers(), 1);
    handle.0.close();
    assert_eq!(writers(), 0);
    assert_eq!(handle.read(0).len(), 1, "reads no longer work");
}

#[test]
fn a_store_with_any_duration_opens_waits_and_ends() {
    for time in [Duration::ZERO, Duration::MAX] {
        let server = Server::start();
        let handle = Handle::make(&server.url(), |builder| {
            builder
                .heartbeat(time)
                .dead_after(time)
                .connect_timeout(time.max(PATIENCE))
                .response_timeout(time.max(PATIENCE))
                .trace_ttl(time)
                .retention(livespan::Retention::default().age(Duration::MAX))
        });
        handle.0.open().unwrap();
        handle.append(&[note("a", "1")]);
        let shared = handle.0.shared_log().unwrap();
        let start = livespan::sse::Sequence::START;
        let page = shared.wait_after(start, livespan::store::PageLimit::default(), time);
        assert_eq!(page.unwrap().len(), 1);
        let streams = [(super::handle::key("a"), start)];
        let changed = shared.wait_streams(&streams, start, time).unwrap();
        assert_eq!(changed.len(), 1);
        drop(handle);
    }
}
