//! A log and its file: restarts, evictions, damaged events, and a second process that only reads.

use std::{collections::BTreeSet, fs, time::Instant};

use livespan::{LiveSpans, Retention, SpanEvent, SqliteEventStore, span::SpanStatus};
use serde_json::json;

use super::{list, pairs, running, running_reports, transcript, updates};
use crate::{
    http::{
        app::{App, Frame, at, checkout, client, done, put, span, trace},
        evicted,
    },
    stores::{sqlite::log::Folder, tail::WithTail},
    support::PATIENCE,
};

/// Opens the log after an earlier log of this test has released the file.
async fn open(folder: &Folder) -> App {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match LiveSpans::builder().store(folder.store()).build() {
            Ok(live) => return App::serve(live).await,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Opens a log that keeps twenty events, four of them in memory.
async fn open_short(folder: &Folder) -> App {
    open_keeping(folder, 20).await
}

/// Opens a log that keeps this many events, four of them in memory.
async fn open_keeping(folder: &Folder, events: usize) -> App {
    let retention = Retention::default().events(events);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let store = WithTail(folder.store().retention(retention), 4);
        match LiveSpans::builder().store(store).build() {
            Ok(live) => return App::serve(live).await,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_kept_trace_stays_kept_after_a_restart() {
    let folder = Folder::new();
    let app = open(&folder).await;
    put(&app.live, done(1, "kept", 1));
    put(&app.live, done(2, "other", 1));
    let path = app.url(&format!("/traces/{}/keep", trace(1)));
    let answer = client().put(&path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder).await;
    let kept = async || {
        let listed = app.json("/traces").await;
        let kept = |place: usize| listed["traces"][place]["kept"].clone();
        (
            kept(0),
            kept(1),
            app.json("/status").await["keptTraces"].clone(),
        )
    };
    assert_eq!(kept().await, (json!(null), json!(true), json!(1)));
    let path = app.url(&format!("/traces/{}/keep", trace(1)));
    let answer = client().delete(&path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(kept().await, (json!(null), json!(null), json!(0)));
    // Only the process that writes to the file can change it.
    app.live.shutdown().unwrap();
    let refused = app.live.keep(trace(1)).unwrap_err();
    let message = format!("keep a stream in the event log {}", folder.file().display());
    assert_eq!(refused.to_string(), message);
}

#[tokio::test]
async fn evictions_from_the_file_are_reported_before_and_after_a_restart() {
    let folder = Folder::new();
    let app = open_short(&folder).await;
    put(&app.live, evicted::long_trace(1));
    put(&app.live, done(2, "whole", 1));
    // Of 63 events, the newest 20 and the start of the open root are kept.
    let gone = json!({"events": 42, "spans": 21});
    evicted::until_evicted(&app, 1, &gone).await;
    let path = format!("/traces/{}/sse", trace(1));
    let (reported_gap, sequences) = evicted::stream(&app, &path, 19).await;
    assert_eq!(reported_gap.unwrap()["lost"], 42);
    assert_eq!(
        sequences,
        [1].into_iter().chain(44..=61).collect::<Vec<_>>()
    );
    let (reported_gap, sequences) =
        evicted::stream(&app, &format!("/traces/{}/sse", trace(2)), 2).await;
    assert_eq!((reported_gap, sequences), (None, vec![62, 63]));
    app.live.shutdown().unwrap();
    drop(app);

    // Opening the log ends the root as lost. So its start and one more event are removed.
    let app = open_short(&folder).await;
    let gone = json!({"events": 44, "spans": 21});
    evicted::until_evicted(&app, 1, &gone).await;
    let (reported_gap, sequences) = evicted::stream(&app, &path, 18).await;
    assert_eq!(reported_gap.unwrap()["lost"], 44);
    assert_eq!(sequences, (45..=61).chain([64]).collect::<Vec<_>>());
    // The counts are the same if only the file has the trace.
    put(
        &app.live,
        (0..2).flat_map(|number| done(10 + number, "other", 1)),
    );
    let gone = json!({"events": 48, "spans": 23});
    evicted::until_evicted(&app, 1, &gone).await;
}

#[tokio::test]
async fn a_reader_that_resumes_inside_a_running_trace_has_missed_nothing() {
    let folder = Folder::new();
    let app = open_keeping(&folder, 400).await;
    put(&app.live, evicted::long_trace(1));
    put(
        &app.live,
        (0..500).flat_map(|number| done(10 + number, "other", 1)),
    );
    let path = format!("/traces/{}/sse", trace(1));
    let resumed = async |app: &App, last: u64, newest: &[u64]| {
        let expected: Vec<u64> = (last + 1..=61).chain(newest.iter().copied()).collect();
        let path = format!("{path}?lastEventId={last}");
        let (reported_gap, sequences) = evicted::stream(app, &path, expected.len()).await;
        assert_eq!((reported_gap, sequences), (None, expected), "{last}");
    };
    for last in [0, 1, 30, 60] {
        resumed(&app, last, &[]).await;
    }
    // A reader of this trace and of a removed one does not learn how many events it has missed.
    let two = format!(
        "/sse?traceId={}&traceId={}&lastEventId=30",
        trace(1),
        trace(10)
    );
    let (reported_gap, sequences) = evicted::stream(&app, &two, 31).await;
    assert_eq!(reported_gap.unwrap()["lost"], serde_json::Value::Null);
    assert_eq!(sequences, (31..=61).collect::<Vec<_>>());
    let snapshot = app.json(&format!("/traces/{}", trace(1))).await;
    assert_eq!(snapshot["evicted"], serde_json::Value::Null);
    app.live.shutdown().unwrap();
    drop(app);

    // The root is ended as lost.
    let app = open_keeping(&folder, 400).await;
    for last in [0, 1, 30, 60] {
        resumed(&app, last, &[1_062]).await;
    }
}

#[tokio::test]
async fn open_spans_are_reported_though_they_are_older_than_memory_and_retention() {
    let folder = Folder::new();
    running_reports::survives(running_reports::Kind::Sqlite, || {
        folder.store().retention(running_reports::retention())
    })
    .await;
}

#[tokio::test]
async fn agents_find_stored_traces_by_short_ids() {
    let folder = Folder::new();
    running_reports::finds_stored_traces_by_short_ids(|| folder.store()).await;
}

#[tokio::test]
async fn a_trace_that_ended_after_more_events_than_are_read_at_once_is_listed_as_ended() {
    let folder = Folder::new();
    let app = open_keeping(&folder, 1_000_000).await;
    let root = SpanEvent::started(trace(1), span(1), "row").at(at(0));
    put(&app.live, [root]);
    for chunk in 0..30_u64 {
        let rows = (chunk * 1_000 + 2..(chunk + 1) * 1_000 + 2).flat_map(|row| {
            let row = span(row);
            let end = SpanEvent::ended(trace(1), row, "row", SpanStatus::Ok);
            [
                SpanEvent::started(trace(1), row, "row")
                    .parent(span(1))
                    .at(at(1)),
                end.parent(span(1)).started_at(at(1)).at(at(2)),
            ]
        });
        put(&app.live, rows);
    }
    let end = SpanEvent::ended(trace(1), span(1), "row", SpanStatus::Ok);
    put(&app.live, [end.started_at(at(0)).at(at(9))]);
    put(
        &app.live,
        (100..110).flat_map(|number| done(number, "new", 1)),
    );
    app.live.shutdown().unwrap();
    drop(app);

    let app = open_keeping(&folder, 1_000_000).await;
    let listed = app.json("/traces?name=row").await;
    let listed = &listed["traces"][0];
    assert_eq!(
        (&listed["state"], &listed["spans"], &listed["partial"]),
        (
            &json!("ok"),
            &json!({"total": 12_501, "open": 0, "errors": 0, "lost": 0}),
            &json!({"events": 25_000})
        )
    );
}

#[tokio::test]
async fn after_a_restart_lists_traces_and_streams_show_earlier_events() {
    let folder = Folder::new();
    let app = open(&folder).await;
    put(&app.live, checkout(1));
    put(&app.live, done(2, "import", 7));
    let before = app.json("/traces/00000000000000000000000000000001").await;
    let cursor = app.live.target().head();
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder).await;
    assert_eq!(
        list(&app, 10).await,
        pairs(&[("import", "ok"), ("checkout", "ok")])
    );
    let after = app.json("/traces/00000000000000000000000000000001").await;
    assert_eq!(before["spans"], after["spans"]);
    assert_eq!(before["summary"], after["summary"]);
    let frames = app
        .stream("/traces/00000000000000000000000000000001/sse?until=end")
        .await
        .transcript("complete")
        .await;
    assert_eq!(
        frames.iter().map(|frame| &frame.event).collect::<Vec<_>>(),
        ["started", "started", "ended", "ended"]
    );
    assert!(
        frames
            .iter()
            .all(|frame| frame.id.starts_with(cursor.epoch().as_str()))
    );
    // A client of the earlier process resumes at its position.
    put(&app.live, done(3, "next", 1));
    let mut stream = app.stream(&format!("/sse?lastEventId={cursor}")).await;
    stream.event("hello").await;
    let next = stream.next().await.unwrap();
    assert_eq!((next.event.as_str(), next.sequence()), ("started", 7));
}

#[tokio::test]
async fn updates_of_open_spans_survive_a_restart() {
    let folder = Folder::new();
    let app = open(&folder).await;
    put(&app.live, [updates::started(1).durable()]);
    put(
        &app.live,
        (1..=40).map(|number| updates::updated(1, number)),
    );
    // This span belongs to another run of the program, and is lost with its process.
    put(&app.live, [updates::started(2), updates::updated(2, 7)]);
    let path = format!("/traces/{}", trace(1));
    let before = app.json(&path).await;
    assert_eq!(before["summary"]["progress"], updates::progress(40));
    assert_eq!(before["updates"], json!([updates::merged(1, 40)]));
    let replayed = updates::replayed(&app, 41).await;
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder).await;
    // Soon after the log is open, the worker reports that the span waits.
    let mut after = app.json(&path).await;
    let deadline = Instant::now() + PATIENCE;
    while after["updates"][0]["state"] != "waiting" {
        assert!(Instant::now() < deadline, "{after}");
        after = app.json(&path).await;
    }
    for field in ["progress", "name", "spans"] {
        assert_eq!(before["summary"][field], after["summary"][field], "{field}");
    }
    // A durable span waits for its next run.
    let mut merged = updates::merged(1, 40);
    merged["state"] = "waiting".into();
    merged["timestamp"] = after["updates"][0]["timestamp"].clone();
    assert_eq!(after["updates"], json!([merged]));
    let lost = app.json(&format!("/traces/{}", trace(2))).await;
    assert_eq!(lost["summary"]["state"], "lost");
    assert_eq!(lost["summary"]["progress"], updates::progress(7));
    assert_eq!(updates::replayed(&app, 41).await, replayed);
}

#[tokio::test]
async fn a_trace_that_memory_has_evicted_is_read_from_the_file() {
    let folder = Folder::new();
    let store = WithTail(folder.store(), 4);
    let app = App::serve(LiveSpans::builder().store(store).build().unwrap()).await;
    put(&app.live, checkout(1));
    for number in 2..=9 {
        put(&app.live, done(number, "import", 7));
    }
    let old = app.json("/traces/00000000000000000000000000000001").await;
    assert_eq!(
        (&old["summary"]["name"], &old["summary"]["state"]),
        (&"checkout".into(), &"ok".into())
    );
    assert_eq!(old["spans"].as_array().unwrap().len(), 2);
    let otlp = app
        .json("/traces/00000000000000000000000000000001?format=otlp")
        .await;
    let spans = &otlp["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 2);
    for limit in [1, 2, 3, 10] {
        let mut expected = vec![("import", "ok"); 8];
        expected.push(("checkout", "ok"));
        assert_eq!(list(&app, limit).await, pairs(&expected), "{limit} a page");
    }
    let filtered = app.json("/traces?q=checkout").await;
    assert_eq!(filtered["traces"].as_array().unwrap().len(), 1);
    let frames = app
        .stream("/traces/00000000000000000000000000000001/sse?until=end&lastEventId=2")
        .await
        .transcript("complete")
        .await;
    assert_eq!(
        frames.iter().map(Frame::sequence).collect::<Vec<_>>(),
        [3, 4]
    );
    let unknown = app.get("/traces/000000000000000000000000000000ff").await;
    assert_eq!(unknown.status(), 404);
}

#[test]
fn shutdown_writes_the_whole_log_to_its_file_while_handles_still_exist() {
    let folder = Folder::new();
    let live = LiveSpans::builder().store(folder.store()).build().unwrap();
    put(&live, checkout(1));
    let wal = folder.path().join("events.db-wal");
    assert!(fs::metadata(&wal).unwrap().len() > 0);
    live.shutdown().unwrap();
    assert!(!wal.exists());
    drop(live);
}

#[tokio::test]
async fn the_status_has_the_limits_of_the_file_beside_those_of_memory() {
    let folder = Folder::new();
    let retention = SqliteEventStore::default_retention().events(123_456);
    let store = folder.store().retention(retention);
    let app = App::serve(LiveSpans::builder().store(store).build().unwrap()).await;
    let status = app.json("/status").await;
    let expected = serde_json::json!({
        "events": 123_456, "bytes": 8_u64 << 30, "ageSeconds": 30 * 24 * 60 * 60,
    });
    assert_eq!(status["store"]["limits"], expected);
    assert_eq!(status["limits"]["events"], 10_000);
}

#[tokio::test]
async fn the_live_list_has_the_position_from_which_the_history_continues() {
    let folder = Folder::new();
    let store = WithTail(folder.store(), 4);
    let app = App::serve(LiveSpans::builder().store(store).build().unwrap()).await;
    let read_snapshot = async || {
        let mut live = app.stream("/traces/sse").await;
        live.event("traces").await.json()
    };
    put(&app.live, done(1, "first", 7));
    assert_eq!(
        read_snapshot().await.get("next"),
        None,
        "the list has a further page"
    );
    for number in 2..=9 {
        put(&app.live, done(number, "import", 7));
    }
    let names = |answer: &serde_json::Value| -> Vec<String> {
        let traces = answer["traces"].as_array().unwrap().iter();
        traces
            .map(|trace| trace["traceId"].as_str().unwrap().to_owned())
            .collect()
    };
    let snapshot = read_snapshot().await;
    let next = snapshot["next"].as_str().unwrap();
    let page = app.json(&format!("/traces?after={next}")).await;
    let shown: BTreeSet<String> = names(&snapshot).into_iter().chain(names(&page)).collect();
    assert_eq!(shown.len(), 9, "{snapshot} {page}");
    assert!(
        names(&snapshot).len() < 9,
        "memory has all traces, so the test reads no page from the file"
    );
}

#[tokio::test]
async fn spans_of_a_dead_process_are_lost_until_their_real_end_arrives() {
    let folder = Folder::new();
    let app = open(&folder).await;
    put(&app.live, [running(1, "job")]);
    put(&app.live, done(2, "import", 7));
    // No provider is shut down, so the spans are not ended.
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder).await;
    assert_eq!(
        transcript(&app, 4).await,
        [
            "started job",
            "started import",
            "ended import",
            "ended job crashed"
        ]
    );
    assert_eq!(
        list(&app, 10).await,
        pairs(&[("import", "ok"), ("job", "lost")])
    );
    let lost = app.json("/traces/00000000000000000000000000000001").await;
    assert_eq!(lost["spans"][0]["status"]["code"], "ERROR");
    assert!(lost["spans"][0]["lost"]["lastHeard"].is_string());
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&folder).await;
    assert_eq!(
        transcript(&app, 4).await.len(),
        4,
        "a span is ended as lost twice"
    );
    put(
        &app.live,
        [SpanEvent::ended(trace(1), span(1), "job", SpanStatus::Ok)],
    );
    assert_eq!(
        list(&app, 10).await,
        pairs(&[("import", "ok"), ("job", "ok")])
    );
}

#[tokio::test]
async fn a_second_process_that_only_reads_shows_what_the_first_one_writes() {
    let folder = Folder::new();
    let writer = open(&folder).await;
    put(&writer.live, checkout(1));
    let reading = SqliteEventStore::new(folder.file()).read_only();
    let reader = App::serve(LiveSpans::builder().store(reading).build().unwrap()).await;
    let mut all = reader.stream("/sse").await;
    all.event("hello").await;
    for sequence in 1..=4 {
        assert_eq!(all.next().await.unwrap().sequence(), sequence);
    }
    let mut one = reader
        .stream("/traces/00000000000000000000000000000002/sse")
        .await;
    put(&writer.live, done(2, "import", 7));
    assert_eq!(all.next().await.unwrap().sequence(), 5);
    assert_eq!(one.event("started").await.sequence(), 5);
    assert_eq!(
        list(&reader, 10).await,
        pairs(&[("import", "ok"), ("checkout", "ok")])
    );
}

#[tokio::test]
async fn an_event_damaged_by_another_program_is_a_gap_of_one_on_every_route() {
    let folder = Folder::new();
    let app = open(&folder).await;
    put(&app.live, checkout(1));
    put(&app.live, done(2, "import", 7));
    app.live.shutdown().unwrap();
    drop(app);
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    other
        .execute_batch(
            "UPDATE event SET name = 'x' || char(10) || 'id: evil-1' WHERE sequence = 2;
             UPDATE event SET payload = x'fffefd' WHERE sequence = 3;
             UPDATE event SET payload = CAST('[1,2]' AS BLOB) WHERE sequence = 5",
        )
        .unwrap();
    drop(other);

    let app = open(&folder).await;
    let gap = serde_json::json!({"type": "gap", "reason": "damaged", "lost": 1});
    for (path, sequences) in [
        ("/sse", &[1, 2, 3, 4, 5, 6][..]),
        // A control event passes every filter.
        ("/sse?type=ended", &[2, 3, 4, 5, 6]),
        (
            "/traces/00000000000000000000000000000001/sse",
            &[1, 2, 3, 4],
        ),
        ("/traces/00000000000000000000000000000002/sse", &[5, 6]),
    ] {
        let mut stream = app.stream(path).await;
        stream.event("hello").await;
        for sequence in sequences {
            let frame = stream.next().await.unwrap();
            assert_eq!(frame.sequence(), *sequence, "{path}");
            let is_gap = matches!(sequence, 2 | 3 | 5);
            assert_eq!(frame.event == "gap", is_gap, "{path} {sequence}");
            assert_eq!(frame.json() == gap, is_gap, "{path} {sequence}");
        }
    }
    assert_eq!(list(&app, 10).await.len(), 2);
    let status = app.json("/status").await;
    assert_eq!(status["store"]["healthy"], true);
    assert_eq!(status["store"]["damagedEvents"], 3);
}

#[test]
fn shutdown_releases_the_file_while_the_tracer_still_exists() {
    let folder = Folder::new();
    let live = LiveSpans::builder().store(folder.store()).build().unwrap();
    let provider = crate::http::app::provider(&live);
    let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "global");
    put(&live, checkout(1));
    provider.shutdown().unwrap();
    live.shutdown().unwrap();
    let next = LiveSpans::builder().store(folder.store()).build().unwrap();
    put(&next, done(2, "import", 7));
    next.shutdown().unwrap();
    drop((tracer, provider, live));
}
