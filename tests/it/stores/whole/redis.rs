//! Processes that share a log in Redis.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use livespan::{LiveSpans, RedisEventStore, Retention, SpanEvent, span::SpanStatus};
use serde_json::{Value as Json, json};

use super::{list, pairs, running, running_reports, transcript, updates};
use crate::{
    http::{
        app::{self, App, Stream, checkout, done, put, sequence, span, trace},
        evicted,
    },
    stores::redis::server::Server,
    support::{PATIENCE, until},
};

/// A short heartbeat, so that a silent process soon counts as dead in these tests.
const HEARTBEAT: Duration = Duration::from_millis(20);
const DEAD_AFTER: Duration = Duration::from_millis(200);

async fn open(server: &Server) -> App {
    let store = RedisEventStore::builder(server.url())
        .heartbeat(HEARTBEAT)
        .dead_after(DEAD_AFTER)
        .build()
        .unwrap();
    App::serve(LiveSpans::builder().store(store).build().unwrap()).await
}

#[tokio::test]
async fn evictions_from_redis_are_reported_by_every_process() {
    let server = Server::start();
    let open = async || {
        let store = RedisEventStore::builder(server.url())
            .heartbeat(HEARTBEAT)
            .dead_after(DEAD_AFTER)
            .retention(Retention::default().events(20))
            .build()
            .unwrap();
        App::serve(LiveSpans::builder().store(store).build().unwrap()).await
    };
    let (app, other) = (open().await, open().await);
    put(&app.live, evicted::long_trace(1));
    put(&app.live, done(2, "whole", 1));
    let gone = json!({"events": 42, "spans": null});
    let path = format!("/traces/{}/sse", trace(1));
    for app in [&app, &other] {
        evicted::until_evicted(app, 1, &gone).await;
        let (reported_gap, sequences) = evicted::stream(app, &path, 19).await;
        assert_eq!(reported_gap.unwrap()["lost"], 42);
        let kept: Vec<u64> = [1].into_iter().chain(44..=61).collect();
        assert_eq!(sequences, kept);
        let path = format!("/traces/{}/sse", trace(2));
        let (reported_gap, sequences) = evicted::stream(app, &path, 2).await;
        assert_eq!((reported_gap, sequences), (None, vec![62, 63]));
    }
    // The start of the root is removed once its end is stored.
    put(
        &app.live,
        [SpanEvent::ended(trace(1), span(1), "job", SpanStatus::Ok)],
    );
    let gone = json!({"events": 44, "spans": null});
    evicted::until_evicted(&other, 1, &gone).await;
}

#[tokio::test]
async fn open_spans_are_reported_though_they_are_older_than_memory_and_retention() {
    let server = Server::start();
    let store = || {
        RedisEventStore::builder(server.url())
            .heartbeat(HEARTBEAT)
            .dead_after(DEAD_AFTER)
            .retention(running_reports::retention())
            .build()
            .unwrap()
    };
    running_reports::survives(running_reports::Kind::Redis, store).await;
}

#[tokio::test]
async fn agents_find_stored_traces_by_short_ids() {
    let server = Server::start();
    let store = || RedisEventStore::builder(server.url()).build().unwrap();
    running_reports::finds_stored_traces_by_short_ids(store).await;
}

#[tokio::test]
async fn updates_of_open_spans_are_reported_by_every_process() {
    let server = Server::start();
    let (app, other) = (open(&server).await, open(&server).await);
    let mut live = other.stream("/sse?type=updated").await;
    live.event("hello").await;
    put(&app.live, [updates::started(1)]);
    put(
        &app.live,
        (1..=40).map(|number| updates::updated(1, number)),
    );
    for number in 1..=40 {
        let frame = live.event("updated").await;
        assert_eq!(frame.json()["attributes"]["progress.current"], number);
    }
    let path = format!("/traces/{}", trace(1));
    for app in [&app, &other] {
        let document = app.json(&path).await;
        assert_eq!(document["summary"]["progress"], updates::progress(40));
        assert_eq!(document["updates"], json!([updates::merged(1, 40)]));
        let listed = app.json("/traces").await;
        assert_eq!(listed["traces"][0]["progress"], updates::progress(40));
        assert_eq!(updates::replayed(app, 40).await.len(), 40);
    }
}

async fn sequences(stream: &mut Stream, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        let frame = stream.next().await.unwrap();
        if !frame.id.is_empty() && !frame.data.is_empty() {
            sequences.push(frame.sequence());
        }
    }
    sequences
}

/// The variable that contains Redis's address for the other process.
const URL: &str = "LIVESPAN_TEST_REDIS";
/// The line that the process prints when its span is stored.
const RUNNING: &str = "the job runs";

#[test]
#[ignore = "not a test: another test starts it as a separate process, and kills it"]
fn a_process_that_is_killed_in_a_job() {
    let store = RedisEventStore::builder(env::var(URL).unwrap())
        .heartbeat(HEARTBEAT)
        .dead_after(DEAD_AFTER)
        .build()
        .unwrap();
    let live = LiveSpans::builder().store(store).build().unwrap();
    put(&live, [running(1, "job")]);
    println!("{RUNNING}");
    // Nothing is ever written to this input. The wait ends with the test that started this process.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test]
async fn events_of_one_process_reach_the_clients_of_the_other() {
    let server = Server::start();
    let (one, two) = (open(&server).await, open(&server).await);
    let mut all = two.stream("/sse").await;
    let mut trace = two
        .stream("/traces/00000000000000000000000000000001/sse?until=end")
        .await;
    put(&one.live, checkout(1));
    put(&two.live, done(2, "import", 7));
    assert_eq!(sequences(&mut all, 6).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(sequences(&mut trace, 4).await, [1, 2, 3, 4]);
    assert_eq!(trace.event("end").await.json()["reason"], "complete");
    for app in [&one, &two] {
        assert_eq!(
            list(app, 1).await,
            pairs(&[("import", "ok"), ("checkout", "ok")])
        );
        let whole = app.json("/traces/00000000000000000000000000000001").await;
        assert_eq!(whole["summary"]["name"], "checkout");
        assert_eq!(whole["spans"].as_array().unwrap().len(), 2);
    }
    let unknown = one.get("/traces/000000000000000000000000000000ff").await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn the_live_list_shows_what_others_dispatch() {
    let server = Server::start();
    let (one, two) = (open(&server).await, open(&server).await);
    put(&one.live, checkout(1));
    let mut live = two.stream("/traces/sse").await;
    let mut names = Vec::new();
    while !names.contains(&"checkout".to_owned()) {
        let update = live.event("traces").await.json();
        let traces = update["traces"].as_array().unwrap().clone();
        names.extend(
            traces
                .iter()
                .map(|trace| trace["name"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(names, ["checkout"]);
}

/// Returns the first snapshot of a viewer of the live list, newest trace first.
async fn first_snapshot(app: &App) -> Vec<Json> {
    let mut live = app.stream("/traces/sse").await;
    let update = live.event("traces").await.json();
    assert_eq!(update["snapshot"], true);
    let mut traces = update["traces"].as_array().unwrap().clone();
    traces.sort_by_key(|trace| {
        let first = trace["firstId"].as_str().unwrap();
        std::cmp::Reverse(sequence(first))
    });
    traces
}

async fn listed(app: &App) -> Vec<Json> {
    let page = app.json("/traces?limit=100").await;
    page["traces"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_live_list_includes_events_written_while_nobody_watched() {
    let server = Server::start();
    let (one, two) = (open(&server).await, open(&server).await);
    put(&one.live, checkout(1));
    // Each process writes one half of this trace. The other process's reader has left before that
    // process writes its half.
    let [begun, over] = done(2, "shared", 7);
    let mut all = two.stream("/sse").await;
    put(&one.live, [begun]);
    sequences(&mut all, 5).await;
    drop(all);
    app::until(|| two.live.status().subscribers == 0).await;
    let child = |event: SpanEvent| event.parent(span(1));
    let [child_begun, child_over] = [
        child(SpanEvent::started(trace(2), span(2), "ship").service("warehouse")),
        child(SpanEvent::ended(
            trace(2),
            span(2),
            "ship",
            SpanStatus::Unset,
        ))
        .service("warehouse"),
    ];
    put(&two.live, [child_begun]);
    put(&one.live, done(3, "import", 7));
    put(&two.live, [child_over]);
    put(&one.live, [over, running(4, "job")]);
    let three = open(&server).await;
    for app in [&one, &two, &three] {
        let snapshot = first_snapshot(app).await;
        assert_eq!(snapshot, listed(app).await);
        let states: Vec<&Json> = snapshot.iter().map(|trace| &trace["state"]).collect();
        assert_eq!(states, ["running", "ok", "ok", "ok"]);
        assert_eq!(snapshot[2]["spans"]["total"], 2, "{:?}", snapshot[2]);
    }
}

#[tokio::test]
async fn a_viewer_of_the_list_learns_that_redis_is_away_and_that_it_is_back() {
    let server = Server::start_with(&["--save", "", "--appendonly", "yes"]);
    let app = open(&server).await;
    put(&app.live, done(1, "before", 7));
    let mut viewer = app.stream("/traces/sse").await;
    viewer.event("traces").await;
    server.kill();
    viewer.event("degraded").await;
    let mut late = app.stream("/traces/sse").await;
    assert_eq!(late.event("hello").await.id, "");
    late.event("degraded").await;
    server.restart();
    let lost = serde_json::json!({"starts": 0, "ends": 0, "other": 0});
    for mut viewer in [viewer, late] {
        assert_eq!(viewer.event("gap").await.json()["lost"], lost);
    }
    put(&app.live, done(2, "after", 7));
    assert_eq!(
        list(&app, 1).await,
        pairs(&[("after", "ok"), ("before", "ok")])
    );
}

#[tokio::test]
async fn spans_of_a_process_that_died_are_ended_once_by_one_that_lives() {
    let server = Server::start();
    let mut process = Command::new(env::current_exe().unwrap())
        .args([
            "stores::whole::redis::a_process_that_is_killed_in_a_job",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(URL, server.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    lines
        .map(Result::unwrap)
        .find(|line| line.ends_with(RUNNING))
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let (two, three) = (open(&server).await, open(&server).await);
    assert_eq!(
        transcript(&two, 2).await,
        ["started job", "ended job crashed"]
    );
    put(&three.live, done(2, "import", 7));
    assert_eq!(
        transcript(&three, 4).await,
        [
            "started job",
            "ended job crashed",
            "started import",
            "ended import"
        ]
    );
}

#[tokio::test]
async fn while_redis_is_away_events_wait_and_then_come_in_order() {
    let server = Server::start_with(&["--save", "", "--appendonly", "yes"]);
    let (one, two) = (open(&server).await, open(&server).await);
    let mut all = two.stream("/sse").await;
    put(&one.live, done(1, "before", 7));
    assert_eq!(sequences(&mut all, 2).await, [1, 2]);
    server.kill();
    for event in done(2, "meanwhile", 7) {
        one.live.target().try_dispatch(&event).unwrap();
    }
    until(|| one.live.status().store.failure.is_some());
    until(|| two.live.status().store.failure.is_some());
    assert_eq!(all.event("degraded").await.id, "");
    server.restart();
    one.live.target().flush(PATIENCE).unwrap();
    assert_eq!(sequences(&mut all, 2).await, [3, 4]);
    until(|| two.live.status().store.failure.is_none());
    let dropped = one.live.status().dropped;
    assert_eq!((dropped.starts, dropped.ends, dropped.other), (0, 0, 0));
}
