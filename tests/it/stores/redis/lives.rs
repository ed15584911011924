//! Epochs: ids stay valid or become unknown when Redis comes back without its newest events.

use std::{collections::HashMap, fs, sync::Arc, thread, time::Duration};

use livespan::{EventStore as _, store::EpochStart};

use super::{
    handle::{Handle, note, shown, texts},
    server::Server,
};
use crate::support::{causes, until};

/// Returns the payload of each event by its id.
fn ids(handle: &Handle) -> HashMap<(String, u64), String> {
    let epochs = handle.0.epochs();
    let events = handle.read(0).into_iter().map(|event| {
        let sequence = event.sequence;
        let life = epochs.iter().rfind(|life| life.first <= sequence).unwrap();
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        ((life.epoch.to_string(), sequence.get()), payload)
    });
    events.collect()
}

#[test]
fn an_epoch_continues_while_another_writer_lives_and_ends_with_the_last() {
    let server = Server::start();
    let one = Handle::open(&server.url());
    let two = Handle::open(&server.url());
    assert_eq!(one.append(&[note("a", "1")]), 1);
    assert_eq!(two.append(&[note("a", "2")]), 2);
    assert_eq!(one.0.epochs(), two.0.epochs());
    drop(one);
    let three = Handle::open(&server.url());
    assert_eq!(three.0.epochs(), two.0.epochs());
    drop(two);
    drop(three);
    let four = Handle::open(&server.url());
    assert_eq!(four.firsts(), [1, 3]);
    assert_eq!(four.append(&[note("a", "3")]), 3);
}

#[test]
fn a_server_that_restarts_empty_begins_an_epoch_above_all_sequences() {
    let server = Server::start();
    let one = Handle::open(&server.url());
    let two = Handle::open(&server.url());
    for number in 1..=10_u64 {
        assert_eq!(one.append(&[note("a", &number.to_string())]), number);
    }
    assert_eq!(two.read(0).len(), 10);
    let before = one.0.epochs();
    server.kill();
    server.restart();
    assert_eq!(one.insist(&[note("a", "after")]), 11);
    assert_eq!(one.firsts(), [1, 11]);
    assert_eq!(one.0.epochs()[0], before[0]);
    assert_ne!(one.0.epochs()[1].epoch, before[0].epoch);
    assert_eq!(one.oldest(), 11);
    assert_eq!(shown(&two.insist_read(0)), texts(&[(11, "after")]));
    assert_eq!(two.0.epochs(), one.0.epochs());
}

#[test]
fn a_server_that_lost_its_newest_events_gives_no_id_twice() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1"), note("a", "2"), note("b", "3")]);
    server.command::<()>(&["SAVE"]);
    handle.append(&[note("a", "lost 4"), note("b", "lost 5")]);
    let given = ids(&handle);
    server.kill();
    server.restart();
    assert_eq!(handle.insist(&[note("a", "6")]), 6);
    assert_eq!(handle.firsts(), [1, 6]);
    let expected = [(1, "1"), (2, "2"), (3, "3"), (6, "6")];
    assert_eq!(shown(&handle.read(0)), texts(&expected));
    for (id, payload) in ids(&handle) {
        assert_eq!(given.get(&id).unwrap_or(&payload), &payload);
    }
}

#[test]
fn every_living_writer_has_a_heartbeat_before_an_epoch_begins() {
    let server = Server::start();
    // With this interval, a new epoch would wait for heartbeats for longer than the test runs.
    // Setting `forming` below ends the wait.
    let set_up = |builder: livespan::store::RedisEventStoreBuilder| {
        builder.heartbeat(Duration::from_secs(300))
    };
    let ahead = Handle::open_with(&server.url(), set_up);
    let behind = Handle::open_with(&server.url(), set_up);
    behind.append(&[note("a", "1")]);
    for _ in 0..20 {
        ahead.append(&[note("a", "known to one alone")]);
    }
    server.command::<()>(&["FLUSHALL"]);
    // This writer has seen only the first event, and is the first to append again.
    let error = causes(&behind.try_append(&[note("a", "22")]).unwrap_err());
    assert!(error[1].contains("a new epoch of it begins"), "{error:?}");
    let error = causes(&ahead.try_append(&[note("a", "23")]).unwrap_err());
    assert!(error[1].contains("a new epoch of it begins"), "{error:?}");
    server.command::<()>(&["HSET", "{livespan}:meta", "forming", "1"]);
    assert_eq!(behind.insist(&[note("a", "22")]), 22);
    assert_eq!(ahead.insist(&[note("a", "23")]), 23);
    assert_eq!(ahead.0.epochs(), behind.0.epochs());
    assert_eq!(shown(&ahead.read(0)), texts(&[(22, "22"), (23, "23")]));
}

#[test]
fn a_late_writer_that_knows_more_events_begins_another_epoch() {
    let server = Server::start();
    // This writer sends no heartbeat in this test.
    let quiet = |builder: livespan::store::RedisEventStoreBuilder| {
        builder.heartbeat(Duration::from_secs(300))
    };
    let late = Handle::open_with(&server.url(), quiet);
    late.append(&[note("a", "old 1"), note("a", "old 2"), note("a", "old 3")]);
    let given = ids(&late);
    server.command::<()>(&["FLUSHALL"]);
    let fresh = Handle::open(&server.url());
    assert_eq!(fresh.append(&[note("a", "new 1"), note("a", "new 2")]), 1);
    let also_given = ids(&fresh);
    // The quiet writer would wait a long time for heartbeats of other writers. Setting `forming`
    // ends the wait. The other writer sends its own heartbeats.
    late.try_append(&[note("a", "late")]).unwrap_err();
    server.command::<()>(&["HSET", "{livespan}:meta", "forming", "1"]);
    assert_eq!(late.insist(&[note("a", "late")]), 4);
    until(|| fresh.read(0).len() == 3 && fresh.0.epochs() == late.0.epochs());
    let expected = [(1, "new 1"), (2, "new 2"), (4, "late")];
    assert_eq!(shown(&late.read(0)), texts(&expected));
    for (id, payload) in ids(&late) {
        assert_eq!(given.get(&id).unwrap_or(&payload), &payload);
        assert_eq!(also_given.get(&id).unwrap_or(&payload), &payload);
    }
}

#[test]
fn an_old_copy_without_living_writers_begins_a_new_epoch() {
    let server = Server::start();
    let handle = Handle::open(&server.url());
    handle.append(&[note("a", "1")]);
    server.command::<()>(&["SAVE"]);
    handle.append(&[note("a", "lost 2")]);
    let given = ids(&handle);
    // The writers die with the server, but the server's copy of the data still shows them as alive.
    server.kill();
    drop(handle);
    let copy = server.folder().join("dump.rdb");
    assert!(fs::exists(copy).unwrap());
    server.restart();
    let handle = Handle::open(&server.url());
    assert_eq!(handle.firsts(), [1, 2]);
    handle.append(&[note("a", "2")]);
    let ids = ids(&handle);
    assert_eq!(ids.len(), 2);
    for (id, payload) in ids {
        assert_eq!(given.get(&id).unwrap_or(&payload), &payload);
    }
}

#[test]
fn two_concurrent_writers_get_sequences_without_holes_in_one_order() {
    const BATCHES: usize = 200;
    let server = Server::start();
    let writers: Vec<Arc<Handle>> = (0..2)
        .map(|_| Arc::new(Handle::open(&server.url())))
        .collect();
    let threads: Vec<_> = writers
        .iter()
        .enumerate()
        .map(|(writer, handle)| {
            let handle = Arc::clone(handle);
            thread::spawn(move || {
                let own = format!("writer {writer}");
                let append = |batch: usize| {
                    let size = 1 + batch % 5;
                    (handle.append(&vec![note(&own, &own); size]), size as u64)
                };
                (0..BATCHES).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    let given: Vec<Vec<(u64, u64)>> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let mut owners = HashMap::new();
    for (writer, batches) in given.iter().enumerate() {
        for (first, size) in batches {
            for sequence in *first..first + size {
                assert_eq!(owners.insert(sequence, format!("writer {writer}")), None);
            }
        }
    }
    let mut expected: Vec<(u64, String)> = owners.into_iter().collect();
    expected.sort_unstable();
    let head = expected.len() as u64;
    assert_eq!(expected.last().unwrap().0, head);
    for handle in &writers {
        assert_eq!(shown(&handle.read(0)), expected);
    }
    let epochs: Vec<Arc<[EpochStart]>> = writers.iter().map(|handle| handle.0.epochs()).collect();
    assert_eq!(epochs[0], epochs[1]);
}
