//! Tests of a livespan that follows others. Whichever process is killed, each event is stored once,
//! and each loss is reported.

use std::{io::Write as _, path::Path, process::Stdio, thread, time::Instant};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::{
    program,
    sender::{SPANS_A_REQUEST, answered, request_of, span},
    support::{Folder, PATIENCE, Running, get, livespan, stored},
};

/// Starts a server at this address. The options choose its store and the livespans that it follows.
fn serve(home: &Folder, address: &str, options: &[&str]) -> (Running, String) {
    let mut command = livespan(home);
    command.args(["serve", "--addr", address, "--otlp-addr", "127.0.0.1:0"]);
    Running::serve(command.args(options))
}

fn host_of(url: &str) -> &str {
    url.strip_prefix("http://").unwrap().trim_end_matches('/')
}

/// Waits until the response for this path contains this text.
fn wait_for(url: &str, path: &str, text: &str) {
    let begun = Instant::now();
    loop {
        let (_, body) = get(url, path);
        if body.contains(text) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no {text} in {body}");
        thread::yield_now();
    }
}

fn send(url: &str, spans: &[Json]) {
    assert_eq!(answered(host_of(url), &request_of(spans)).unwrap(), 200);
}

fn open_span(sender: u64, number: u64) -> Json {
    let mut open = span(sender, number);
    open.as_object_mut().unwrap().remove("endTimeUnixNano");
    open
}

fn kill(server: Running) {
    server.signal(Signal::KILL);
    server.wait();
}

fn end(server: Running) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// Asserts that both stores have the same events in the same order.
fn assert_same_events(home: &Folder) {
    let [first, second] = ["first.db", "second.db"].map(|file| stored(&home.path().join(file)));
    for (place, (theirs, ours)) in first.iter().zip(&second).enumerate() {
        let around = |events: &[Json]| {
            let near = place.saturating_sub(3)..(place + 4).min(events.len());
            let lines = events[near].iter();
            let lines = lines.map(|event| format!("{} {}", event["type"], event["name"]));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            ours,
            theirs,
            "event {place}: {:?} {:?}",
            around(&second),
            around(&first)
        );
    }
    assert_eq!(second.len(), first.len());
}

/// Returns a short text for each event.
fn outline(file: &Path) -> Vec<String> {
    let line = |event: &Json| match event["type"].as_str().unwrap() {
        "gap" => format!("gap {}", event["lost"]),
        "ended" if event["lost"].is_object() => format!("lost {}", event["name"]),
        kind => format!("{kind} {}", event["name"]).replace(" null", ""),
    };
    stored(file).iter().map(line).collect()
}

#[test]
fn follower_that_is_killed_again_and_again_stores_every_event_once() {
    let home = Folder::new();
    let (first, url) = serve(&home, "127.0.0.1:0", &["--store", "first.db"]);
    send(&url, &[open_span(9, 0)]);
    let options = ["--store", "second.db", "--follow", &url];
    let mut sent = 0;
    let mut request = || {
        let spans: Vec<Json> = (sent..sent + SPANS_A_REQUEST)
            .map(|number| span(1, number))
            .collect();
        send(&url, &spans);
        sent += SPANS_A_REQUEST;
        format!(
            "{:032x}",
            (1_u128 << 64) + u128::from(sent / SPANS_A_REQUEST)
        )
    };
    for round in 0..6 {
        let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
        let mut last = String::new();
        for _ in 0..10 {
            last = request();
        }
        // The trace is among the last ones that arrived, so the kill may interrupt the storing of
        // its batch.
        wait_for(&follower_url, "/traces", &last);
        request();
        // The other log's open span is also open here.
        wait_for(&follower_url, "/traces?q=state:running", "span 0");
        if round == 3 {
            end(follower);
        } else {
            kill(follower);
        }
        request();
    }
    let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
    send(&url, &[span(9, 0), span(9, 1)]);
    let trace = "/traces/00000000000000090000000000000001";
    wait_for(&follower_url, trace, "\"total\":2,\"open\":0");
    end(follower);
    end(first);
    assert_same_events(&home);
}

#[test]
fn follower_continues_after_the_followed_log_was_killed() {
    let home = Folder::new();
    let store = ["--store", "first.db"];
    let (mut first, url) = serve(&home, "127.0.0.1:0", &store);
    let options = ["--store", "second.db", "--follow", &url];
    let (mut follower, mut follower_url) = serve(&home, "127.0.0.1:0", &options);
    for round in 0..4 {
        let numbers = round * SPANS_A_REQUEST..(round + 1) * SPANS_A_REQUEST;
        let spans: Vec<Json> = numbers.map(|number| span(1, number)).collect();
        send(&url, &spans);
        wait_for(
            &follower_url,
            "/traces",
            &format!("{:032x}", (1_u128 << 64) + u128::from(round) + 1),
        );
        send(&url, &[span(2, round * SPANS_A_REQUEST)]);
        kill(first);
        // In every other round, both processes are down.
        if round % 2 == 1 {
            kill(follower);
            first = serve(&home, host_of(&url), &store).0;
            (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
        } else {
            first = serve(&home, host_of(&url), &store).0;
        }
    }
    send(&url, &[span(3, 0)]);
    wait_for(&follower_url, "/traces", "00000000000000030000000000000001");
    end(follower);
    end(first);
    assert_same_events(&home);
}

#[test]
fn log_that_restarted_empty_while_its_follower_was_down_is_reported_as_a_gap() {
    let home = Folder::new();
    let (first, url) = serve(&home, "127.0.0.1:0", &["--memory"]);
    send(&url, &[span(1, 0), open_span(2, 5)]);
    let options = ["--store", "second.db", "--follow", &url];
    let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
    wait_for(&follower_url, "/traces?q=state:ok", "span 0");
    wait_for(&follower_url, "/traces?q=state:running", "span 5");
    kill(follower);
    kill(first);
    let (first, _) = serve(&home, host_of(&url), &["--memory"]);
    send(&url, &[span(3, 7)]);
    let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
    wait_for(&follower_url, "/traces?q=state:ok", "span 7");
    kill(first);
    end(follower);
    assert_eq!(
        outline(&home.path().join("second.db")),
        [
            "process",
            "started \"span 0\"",
            "started \"span 5\"",
            "ended \"span 0\"",
            "lost \"span 5\"",
            "gap null",
            "process",
            "started \"span 7\"",
            "ended \"span 7\"",
        ]
    );
}

#[test]
fn events_that_the_followed_log_has_removed_in_the_meantime_are_counted() {
    let home = Folder::new();
    let few = ["--memory", "--retention-events", "1000"];
    let (first, url) = serve(&home, "127.0.0.1:0", &few);
    send(&url, &[span(1, 0)]);
    let options = ["--store", "second.db", "--follow", &url];
    let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
    wait_for(&follower_url, "/traces?q=state:ok", "span 0");
    kill(follower);
    for request in 0..60 {
        let numbers = request * SPANS_A_REQUEST..(request + 1) * SPANS_A_REQUEST;
        let spans: Vec<Json> = numbers.map(|number| span(2, number)).collect();
        send(&url, &spans);
    }
    send(&url, &[span(3, 7)]);
    let (follower, follower_url) = serve(&home, "127.0.0.1:0", &options);
    wait_for(
        &follower_url,
        "/traces?q=span+7",
        "00000000000000030000000000000001",
    );
    let (_, status) = get(&url, "/status");
    let status: Json = serde_json::from_str(&status).unwrap();
    end(follower);
    end(first);
    let events = stored(&home.path().join("second.db"));
    let lost: Vec<&Json> = events
        .iter()
        .filter(|event| event["type"] == "gap")
        .collect();
    let [gap] = lost[..] else {
        panic!("{lost:?}");
    };
    let head = status["head"].as_str().unwrap();
    let head: u64 = head.rsplit_once('-').unwrap().1.parse().unwrap();
    // One process, one start and one end are stored; the gap counts all other events.
    let missing = head - (events.len() as u64 - 1);
    assert_eq!(
        gap["lost"],
        json!({"starts": 0, "ends": 0, "other": missing})
    );
}

#[test]
fn program_that_joined_is_followed_again_after_a_restart() {
    let home = Folder::new();
    let store = ["--store", "log.db"];
    let (server, url) = serve(&home, "127.0.0.1:0", &store);
    let mut command = livespan(&home);
    command
        .args(["run", "--addr", host_of(&url)])
        .args(program::command("talk"));
    let mut running = Running::start(command.stdin(Stdio::piped()));
    while !running.stdout.next().unwrap().starts_with("joined ") {}
    wait_for(&url, "/traces?q=state:running", "\"stuck\"");
    kill(server);
    let (server, url) = serve(&home, host_of(&url), &store);
    wait_for(&url, "/traces?q=state:running", "\"stuck\"");
    let mut input = running.child.stdin.take().unwrap();
    input.write_all(b"line\n").unwrap();
    // Waits until the new server has connected to the program. Only a connected program waits for
    // the server before it exits.
    wait_for(&url, "/traces?q=state:running", "\"total\":2");
    drop(input);
    wait_for(&url, "/traces?q=state:ok", "\"stuck\"");
    running.wait();
    end(server);
    let expected = [
        "process",
        "started \"stuck\"",
        "started \"said\"",
        "ended \"said\"",
        "ended \"stuck\"",
    ];
    assert_eq!(outline(&home.path().join("log.db")), expected);
}
