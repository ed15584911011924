//! Helpers for the tests of the durable examples: a process that a test can kill, and the events of
//! an order in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value as Json;

/// The time limit for the tests' waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process that does not outlive the test: dropping it kills it with SIGKILL and waits for it.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself.
        drop(self.0.kill());
        self.0.wait().expect("could not wait for the process");
    }
}

/// Starts an example and reads the first `LINES` lines of its output.
pub(crate) fn start<const LINES: usize>(command: &mut Command) -> (Process, [String; LINES]) {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = Process(spawned.expect("could not start the example"));
    let mut printed = BufReader::new(
        process
            .0
            .stdout
            .take()
            .expect("the example's output is not piped"),
    );
    let lines = std::array::from_fn(|_| {
        let mut line = String::new();
        printed
            .read_line(&mut line)
            .expect("could not read the example's output");
        line.trim().to_owned()
    });
    // The rest of the output is read and discarded, so that the engine can continue to print.
    std::thread::spawn(move || printed.lines().for_each(drop));
    (process, lines)
}

/// Reads the events of the workflow `order-1`, until `enough` accepts them or the stream ends.
pub(crate) async fn events(
    dashboard: &str,
    query: &str,
    enough: impl Fn(&[Json]) -> bool,
) -> Vec<Json> {
    let url = format!("{dashboard}workflows/orders/order-1/sse{query}");
    let mut response = reqwest::get(url).await.expect("could not request the log");
    let (mut text, mut events) = (Vec::new(), Vec::new());
    while let Some(bytes) = response.chunk().await.expect("the stream broke off") {
        text.extend_from_slice(&bytes);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                events.push(serde_json::from_slice(data).expect("an event's data is not JSON"));
                if enough(&events) {
                    return events;
                }
            }
        }
    }
    events
}

fn of_type<'a>(events: &'a [Json], kind: &'a str) -> impl Iterator<Item = &'a Json> {
    events.iter().filter(move |event| event["type"] == kind)
}

pub(crate) fn waits_for_approval(events: &[Json]) -> bool {
    let approval = of_type(events, "started").find(|event| event["name"] == "approval");
    approval.is_some_and(|approval| {
        of_type(events, "updated")
            .any(|event| event["spanId"] == approval["spanId"] && event["state"] == "waiting")
    })
}

/// Asserts that the order is one trace of five spans, each started once and ended once, and none lost. Also asserts
/// that one process started the wait for the approval and another ended it.
pub(crate) fn hold_exactly_once(whole: &[Json]) {
    let mut spans: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (at, kind) in ["started", "ended"].into_iter().enumerate() {
        for event in of_type(whole, kind) {
            assert!(event["lost"].is_null(), "{event}");
            let name = event["name"].as_str().expect("an event has no name");
            spans.entry(name).or_default()[at] += 1;
        }
    }
    let once = ["Order", "approval", "charge", "cool down", "ship"].map(|name| (name, [1, 1]));
    assert_eq!(spans, BTreeMap::from(once));
    let ids = |key: &str| {
        let started = of_type(whole, "started").map(|event| event[key].to_string());
        started.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((ids("traceId"), ids("spanId")), (1, 5));
    let process = |kind: &str| {
        let approval = of_type(whole, kind).find(|event| event["name"] == "approval");
        approval.map(|approval| approval["process"].clone())
    };
    assert_ne!(process("started"), process("ended"));
}
