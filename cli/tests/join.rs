//! Tests of programs with `livespan::init()` that join a livespan, and of a livespan that follows
//! another one.

use std::{collections::BTreeMap, process::Stdio};

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::{
    program::{self, MANY},
    support::{FREE, Folder, Running, get, livespan, output, stored},
};

const RUN: [&str; 5] = ["run", "--addr", "127.0.0.1:0", "--store", "log.db"];

fn text<'a>(event: &'a Json, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_default()
}

/// Returns the type and the name of each event that is not about the command itself.
fn facts(events: &[Json]) -> Vec<(&str, &str)> {
    let events = events
        .iter()
        .filter(|event| text(event, "service") != "livespan run");
    events
        .map(|event| (text(event, "type"), text(event, "name")))
        .collect()
}

#[test]
fn a_program_that_ends_at_once_is_shown_whole_and_prints_nothing() {
    let home = Folder::new();
    let mut command = livespan(&home);
    let (code, _, stderr) = output(command.args(RUN).args(program::command("short")));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let events = stored(&home.path().join("log.db"));
    assert_eq!(
        facts(&events),
        [
            ("process", ""),
            ("started", "outer"),
            ("started", "inner"),
            ("ended", "inner"),
            ("ended", "outer"),
        ]
    );
    let started = events
        .iter()
        .find(|event| text(event, "name") == "inner")
        .unwrap();
    assert_eq!(started["attributes"]["rows"], 3);
}

#[test]
fn every_span_of_a_busy_program_arrives_once() {
    let home = Folder::new();
    let mut command = livespan(&home);
    let (code, _, stderr) = output(command.args(RUN).args(program::command("many")));
    assert_eq!(code, Some(0), "{stderr}");
    let events = stored(&home.path().join("log.db"));
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in &events {
        if matches!(text(event, "type"), "started" | "ended") {
            *counts
                .entry((text(event, "type"), text(event, "spanId")))
                .or_default() += 1;
        }
    }
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert_eq!(repeated, []);
    // The program's own log may have dropped events, and reports them in a gap. No other event may
    // be missing.
    let dropped: u64 = events
        .iter()
        .filter(|event| text(event, "type") == "gap")
        .map(|gap| gap["lost"]["starts"].as_u64().unwrap() + gap["lost"]["ends"].as_u64().unwrap())
        .sum();
    // `livespan run` adds a span for the command.
    assert_eq!(counts.len() as u64 + dropped, 2 * (MANY as u64 + 1));
}

#[test]
fn open_spans_of_a_program_that_is_killed_are_lost() {
    let home = Folder::new();
    let mut command = livespan(&home);
    // The shell stays, so that only the program is killed. A shell gives a background program no
    // input, so the script passes its own input on through file descriptor 3.
    let script = "exec 3<&0; \"$@\" <&3 & echo $!; wait $!; echo ended";
    command
        .args(RUN)
        .args(["sh", "-c", script, "sh"])
        .args(program::command("hang"));
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let url = running.stderr.next().unwrap();
    let url = url.strip_prefix("livespan dashboard: ").unwrap();
    // The shell and the program write to the same output, so their lines may come in any order.
    let (mut pid, mut joined) = (None, None);
    while pid.is_none() || joined.is_none() {
        let line = running.stdout.next().unwrap();
        pid = pid.or_else(|| line.parse().ok());
        joined = joined.or_else(|| line.strip_prefix("joined ").map(str::to_owned));
    }
    assert_eq!(joined.as_deref(), Some(url));
    let is_shown = || get(url, "/traces?q=stuck").1.contains("\"stuck\"");
    while !is_shown() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(pid.unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(
        running.stdout.rest().last().map(String::as_str),
        Some("ended")
    );
    assert_eq!(running.wait().code(), Some(0));
    let events = stored(&home.path().join("log.db"));
    assert_eq!(
        facts(&events),
        [("process", ""), ("started", "stuck"), ("ended", "stuck")]
    );
    let ended = events
        .iter()
        .rfind(|event| text(event, "name") == "stuck")
        .unwrap();
    assert_eq!(ended["lost"]["reason"], "crashed");
}

#[test]
fn a_program_goes_on_when_the_livespan_above_it_is_killed() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command
        .args(RUN)
        .args(program::command("hang"))
        .stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    while !running.stdout.next().unwrap().starts_with("joined ") {}
    let input = running.child.stdin.take();
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
    // The end of its input makes the program exit, which ends its output.
    drop(input);
    let output = running.stdout.rest();
    assert!(
        output
            .iter()
            .any(|line| line.contains("test result: ok. 1 passed")),
        "{output:?}"
    );
}

#[test]
fn a_program_opens_its_own_page_if_nobody_answers() {
    let home = Folder::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let words = program::command("hang");
    let mut command = std::process::Command::new(&words[0]);
    command
        .args(&words[1..])
        .env("LIVESPAN_JOIN", format!("http://{free}/"))
        .env("LIVESPAN_ADDR", "127.0.0.1:0")
        .env_remove("LIVESPAN_URL")
        .current_dir(home.path())
        .stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    let page = running.stderr.next().unwrap();
    let page = page.strip_prefix("livespan: ").unwrap();
    assert_eq!(get(page, "/status").0, 200);
}

#[test]
fn a_command_joins_the_livespan_that_serves_at_the_address() {
    let home = Folder::new();
    let mut serve = livespan(&home);
    serve.args(["serve", "--store", "log.db"]).args(FREE);
    let (server, url) = Running::serve(&mut serve);
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut command = livespan(&home);
    command
        .args(["run", "--addr", address])
        .args(program::command("short"));
    let (code, _, stderr) = output(&mut command);
    assert_eq!(
        (code, stderr),
        (Some(0), format!("livespan dashboard: {url}\n"))
    );
    while !get(&url, "/traces?q=state:ok").1.contains("\"outer\"") {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let events = stored(&home.path().join("log.db"));
    let names = ["process", "started", "started", "ended", "ended"];
    assert_eq!(
        facts(&events)
            .iter()
            .map(|(kind, _)| *kind)
            .collect::<Vec<_>>(),
        names
    );
}

#[test]
fn a_livespan_follows_another_one() {
    let home = Folder::new();
    let mut command = livespan(&home);
    command.args(["serve", "--store", "first.db"]).args(FREE);
    let (first, first_url) = Running::serve(&mut command);
    let mut command = livespan(&home);
    command.args(["serve", "--store", "second.db", "--follow", &first_url]);
    command.args(FREE);
    let (second, second_url) = Running::serve(&mut command);
    let address = first_url
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/');
    let mut command = livespan(&home);
    command
        .args(["run", "--addr", address])
        .args(program::command("short"));
    assert_eq!(output(&mut command).0, Some(0));
    while !get(&second_url, "/traces?q=state:ok")
        .1
        .contains("\"outer\"")
    {
        std::thread::yield_now();
    }
    for server in [first, second] {
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    }
    let [first, second] = ["first.db", "second.db"].map(|file| stored(&home.path().join(file)));
    assert_eq!(first, second);
}
