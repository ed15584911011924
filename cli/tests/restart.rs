//! Tests a receiver that is shut down or killed while programs send. The spans and log records of
//! each request that it answered with success must be in the log exactly once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::{
    sender::{SPANS_A_REQUEST, answered, request_of, request_of_logs, send, span},
    support::{FREE, Folder, PATIENCE, Running, get, livespan, stored},
};

const SENDERS: u64 = 6;
/// Number of successful responses before a receiver is ended.
const ANSWERS_A_ROUND: u64 = 40;

fn serve(home: &Folder) -> (Running, String) {
    let (server, url) = Running::serve(
        livespan(home)
            .args(["serve", "--store", "log.db"])
            .args(FREE),
    );
    let host = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    (server, host.to_owned())
}

/// Sends a request to the current server until the response is a success.
fn send_until_taken(host: &Mutex<String>, body: &str) {
    let begun = Instant::now();
    loop {
        let now = host.lock().unwrap().clone();
        match answered(&now, body) {
            Ok(200) => return,
            // Status 503 asks the sender to repeat the request. A missing response requires a
            // repetition, too.
            Ok(503) | Err(_) => thread::park_timeout(Duration::from_millis(2)),
            Ok(other) => panic!("status {other}"),
        }
        assert!(begun.elapsed() < PATIENCE, "no answer");
    }
}

/// Returns the number of starts, real ends and lost ends of each span, by its id.
fn counts(file: &Path) -> BTreeMap<String, [u64; 3]> {
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for event in stored(file) {
        let place = match event["type"].as_str().unwrap() {
            "started" => 0,
            "ended" if event["lost"].is_null() => 1,
            "ended" => 2,
            "process" => continue,
            other => panic!("{other}: {event}"),
        };
        let span = event["spanId"].as_str().unwrap().to_owned();
        counts.entry(span).or_default()[place] += 1;
    }
    counts
}

#[test]
fn requests_answered_with_success_are_stored_once_however_the_receiver_ended() {
    let home = Folder::new();
    let (first, address) = serve(&home);
    let (host, taken, is_over) = (
        Mutex::new(address),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let sent = thread::scope(|scope| {
        let senders = (1..=SENDERS).map(|sender| {
            let (host, taken, is_over) = (&host, &taken, &is_over);
            scope.spawn(move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let spans = number..number + SPANS_A_REQUEST;
                    let spans: Vec<Json> = spans.map(|number| span(sender, number)).collect();
                    send_until_taken(host, &request_of(&spans));
                    taken.fetch_add(1, Ordering::Relaxed);
                    number += SPANS_A_REQUEST;
                }
                (sender, number)
            })
        });
        let senders: Vec<_> = senders.collect();
        let mut server = first;
        for signal in [Signal::KILL, Signal::TERM, Signal::KILL, Signal::KILL] {
            let enough = taken.load(Ordering::Relaxed) + ANSWERS_A_ROUND;
            let begun = Instant::now();
            while taken.load(Ordering::Relaxed) < enough {
                assert!(begun.elapsed() < PATIENCE, "nothing is answered");
                thread::park_timeout(Duration::from_millis(1));
            }
            server.signal(signal);
            server.wait();
            let (next, address) = serve(&home);
            *host.lock().unwrap() = address;
            server = next;
        }
        is_over.store(true, Ordering::Relaxed);
        let sent: Vec<(u64, u64)> = senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect();
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        sent
    });
    let mut counts = counts(&home.path().join("log.db"));
    for (sender, spans) in sent {
        for number in 0..spans {
            let id = format!("{:016x}", (sender << 32) + number + 1);
            let [starts, ends, lost] = counts.remove(&id).unwrap_or_default();
            // If the receiver was killed between storing a span's start and its end, the next
            // receiver ended the span as lost. The repeated request then started it again.
            assert_eq!((starts, ends), (1 + lost, 1), "{sender} {number} {lost}");
        }
    }
    assert_eq!(counts, BTreeMap::new());
}

#[test]
fn a_request_whose_answer_was_lost_is_not_stored_twice() {
    for signal in [Signal::KILL, Signal::TERM] {
        let home = Folder::new();
        let (server, host) = serve(&home);
        let spans = [span(1, 0), span(1, 1)];
        let connection = send(&host, &request_of(&spans)).unwrap();
        let url = format!("http://{host}/");
        let begun = Instant::now();
        while !get(&url, "/traces").1.contains("\"total\":2,\"open\":0") {
            assert!(begun.elapsed() < PATIENCE, "{}", get(&url, "/traces").1);
            thread::yield_now();
        }
        server.signal(signal);
        server.wait();
        // The response was never read.
        drop(connection);
        let (server, host) = serve(&home);
        // The second request also has a new span, and one whose name has changed.
        let mut other = span(1, 1);
        other["name"] = json!("renamed");
        let again = [span(1, 0), other, span(1, 2)];
        assert_eq!(answered(&host, &request_of(&again)).unwrap(), 200);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        let events = stored(&home.path().join("log.db"));
        let facts: Vec<String> = events
            .iter()
            .filter(|event| event["type"] != "process")
            .map(|event| format!("{} {}", event["type"], event["name"]).replace('"', ""))
            .collect();
        let expected = [
            "started span 0",
            "started span 1",
            "ended span 1",
            "ended span 0",
            "started span 2",
            "ended span 2",
            "ended renamed",
        ];
        assert_eq!(facts, expected);
    }
}

#[test]
fn log_records_whose_answer_was_lost_are_not_stored_twice() {
    for signal in [Signal::KILL, Signal::TERM] {
        let home = Folder::new();
        let (server, host) = serve(&home);
        let connection = send(&host, &request_of_logs(&["a", "b"])).unwrap();
        let url = format!("http://{host}/");
        let begun = Instant::now();
        while !get(&url, "/logs").1.contains("\"body\":\"b\"") {
            assert!(begun.elapsed() < PATIENCE, "{}", get(&url, "/logs").1);
            thread::yield_now();
        }
        server.signal(signal);
        server.wait();
        // The answer was never read.
        drop(connection);
        let (server, host) = serve(&home);
        // The second request also has a new record.
        for bodies in [&["a", "b"][..], &["a", "b", "c"]] {
            assert_eq!(answered(&host, &request_of_logs(bodies)).unwrap(), 200);
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        let events = stored(&home.path().join("log.db"));
        let logs = events.iter().filter(|event| event["type"] == "log");
        let bodies: Vec<&str> = logs.map(|event| event["body"].as_str().unwrap()).collect();
        // Another request is not a repetition, even if its first two records are equal to earlier
        // ones.
        assert_eq!(bodies, ["a", "b", "a", "b", "c"]);
    }
}

#[test]
fn an_open_span_that_is_sent_again_is_running_after_a_restart() {
    let home = Folder::new();
    let (server, host) = serve(&home);
    let mut open = span(1, 0);
    open.as_object_mut().unwrap().remove("endTimeUnixNano");
    let open = request_of(&[open]);
    assert_eq!(answered(&host, &open).unwrap(), 200);
    server.signal(Signal::KILL);
    server.wait();
    let (server, host) = serve(&home);
    let url = format!("http://{host}/");
    assert_eq!(answered(&host, &open).unwrap(), 200);
    let state = |url: &str| {
        let (_, body) = get(url, "/traces");
        let list: Json = serde_json::from_str(&body).unwrap();
        list["traces"][0]["state"].clone()
    };
    assert_eq!(state(&url), "running");
    assert_eq!(answered(&host, &request_of(&[span(1, 0)])).unwrap(), 200);
    assert_eq!(state(&url), "ok");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let counts = counts(&home.path().join("log.db"));
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [[2, 1, 1]]);
}
