//! The workflow, killed while it waits: what its log shows. It needs `redis-server`.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

/// The backstop of every wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        self.0.wait().expect("the process is our own");
    }
}

fn redis(folder: &Path) -> (Process, String) {
    let socket = folder.join("redis.sock");
    let spawned = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let process = Process(spawned.expect("redis-server is installed"));
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "redis-server starts");
        std::thread::yield_now();
    }
    (process, format!("unix://{}", socket.display()))
}

/// Starts the example; its address is its first line.
fn start(folder: &Path, redis: &str) -> (Process, String) {
    let spawned = Command::new(env!("CARGO_BIN_EXE_livespan-duroxide-example"))
        .arg(folder.join("orders.db"))
        .arg(redis)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut process = Process(spawned.unwrap());
    let mut address = String::new();
    let mut lines = BufReader::new(process.0.stdout.take().unwrap());
    lines.read_line(&mut address).unwrap();
    // Kept open: what the engine prints must not end it.
    std::thread::spawn(move || lines.lines().for_each(drop));
    (process, address.trim().to_owned())
}

/// The events of the instance, until one is as asked for or the stream ends.
async fn events(address: &str, query: &str, last: impl Fn(&[Json]) -> bool) -> Vec<Json> {
    let url = format!("{address}workflows/orders/order-1/sse{query}");
    let mut response = reqwest::get(url).await.unwrap();
    let (mut text, mut events) = (Vec::new(), Vec::new());
    while let Some(bytes) = response.chunk().await.unwrap() {
        text.extend_from_slice(&bytes);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                events.push(serde_json::from_slice(data).unwrap());
                if last(&events) {
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

fn waits_for_approval(events: &[Json]) -> bool {
    let approval = of_type(events, "started").find(|event| event["name"] == "approval");
    approval.is_some_and(|approval| {
        of_type(events, "updated")
            .any(|event| event["spanId"] == approval["spanId"] && event["state"] == "waiting")
    })
}

#[tokio::test]
async fn each_span_starts_once_and_ends_once_though_its_process_is_killed() {
    let whole = tokio::time::timeout(PATIENCE, async {
        let folder = tempfile::tempdir().unwrap();
        let (_redis, url) = redis(folder.path());
        let (first, address) = start(folder.path(), &url);
        let seen = events(&address, "", waits_for_approval).await;
        assert!(waits_for_approval(&seen));
        // SIGKILL, and gone.
        drop(first);
        let (mut second, address) = start(folder.path(), &url);
        second.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        events(&address, "?until=end", |_| false).await
    })
    .await
    .expect("the workflow ends in time");

    let mut spans: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (at, kind) in ["started", "ended"].into_iter().enumerate() {
        for event in of_type(&whole, kind) {
            assert!(event["lost"].is_null(), "{event}");
            spans.entry(event["name"].as_str().unwrap()).or_default()[at] += 1;
        }
    }
    let once = ["Order", "approval", "charge", "cool down", "ship"].map(|name| (name, [1, 1]));
    assert_eq!(spans, BTreeMap::from(once));
    let ids = |key: &str| {
        let started = of_type(&whole, "started").map(|event| event[key].to_string());
        started.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((ids("traceId"), ids("spanId")), (1, 5));
    let processes = |kind: &str| {
        let approval = of_type(&whole, kind).find(|event| event["name"] == "approval");
        approval.unwrap()["process"].clone()
    };
    assert_ne!(
        processes("started"),
        processes("ended"),
        "it waited across the crash"
    );
}
