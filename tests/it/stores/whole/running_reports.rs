//! Reports name open spans and failures even if their events are no longer in memory or within
//! retention, before and after a restart.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use livespan::{Error, LiveSpans, Retention, SpanEvent, span::SpanStatus, store::EventStore};
use serde_json::{Value as Json, json};

use crate::{
    core::stores::VecStore,
    http::app::{App, at, client, done, put, span, trace},
    stores::tail::WithTail,
    support::PATIENCE,
};

/// The events that memory keeps in front of the store.
const IN_MEMORY: usize = 4;

pub(super) fn retention() -> Retention {
    Retention::default().events(400)
}

/// Opens a log whose memory is far smaller than its store.
pub(super) async fn open<S: EventStore>(store: impl Fn() -> S) -> App {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let store = WithTail(store(), IN_MEMORY);
        match LiveSpans::builder().store(store).build() {
            Ok(live) => return App::serve(live).await,
            // An earlier log of this test has not released the store yet.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// The kind of store. Some lines of the expected reports depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    /// The store is shared.
    Redis,
}

impl Kind {
    /// Changes the lines of a report on SQLite to those of this kind of store.
    fn lines(self, lines: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if self == Self::Redis {
            let shared =
                "The store is shared: only traces that this process has read are known here.";
            lines.insert(1, shared.to_owned());
        }
        lines
    }
}

pub(super) async fn survives<S: EventStore>(kind: Kind, store: impl Fn() -> S) {
    let app = open(&store).await;
    begin(&app.live);
    pass(&app.live, 100);
    let running = [
        "# open spans in # traces, oldest first · #-#-# #:#:# UTC",
        "trace # job · shop · open for # d # h · # of # spans open",
        "  job # d # h [#]",
        "    step # d # h [#] · # of # · # % (reported # d # h ago)",
        "trace # \"durable job\" · shop · open for # d # h · # of # span open",
        "  \"durable job\" # d # h [#] · durable",
    ];
    until_reported(&app, &kind.lines(&running)).await;
    assert_eq!(
        problems(&app).await,
        [
            "quiet: step [#] · shop · open for # d # h · # of # · # % (reported # d # h ago) · no event of it since \
             · in trace # job",
            "quiet: \"durable job\" [#] · shop · open for # d # h · no event of it since · in trace #",
        ]
    );
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&store).await;
    let waiting = [
        "# open span in # trace, oldest first · #-#-# #:#:# UTC",
        "trace # \"durable job\" · shop · open for # d # h · # of # span open · waits",
        "  \"durable job\" # d # h [#] · durable · waits",
    ];
    until_reported(&app, &kind.lines(&waiting)).await;
    assert_eq!(
        problems(&app).await,
        [
            "lost: step [#] · shop · #.# s ago · \"lost: the process died while the span was open\" · failed with it: # \
             span above · in trace # job",
        ]
    );
    // Pushes the events of the restart out of memory, too.
    pass(&app.live, 1_000);
    let waiting = kind.lines(&waiting);
    until_reported(&app, &waiting).await;
    // The durable job continues and ends. No span of it is open after that.
    put(
        &app.live,
        [SpanEvent::ended(trace(2), span(1), "durable job", SpanStatus::Ok).durable()],
    );
    let nothing = kind.lines(&["Nothing is open · #-#-# #:#:# UTC"]);
    until_reported(&app, &nothing).await;
}

/// Begins a job with a child that reports its progress, and a durable job.
fn begin(live: &LiveSpans) {
    let started = |number, id, name| {
        SpanEvent::started(trace(number), span(id), name)
            .service("shop")
            .at(at(0))
    };
    put(
        live,
        [
            started(1, 1, "job"),
            started(1, 2, "step").parent(span(1)),
            SpanEvent::updated(trace(1), span(2), None)
                .attribute("progress.current", 3_i64)
                .attribute("progress.total", 7_i64)
                .at(at(1)),
            started(2, 1, "durable job").durable(),
        ],
    );
}

/// Dispatches more events of ended traces than the store keeps.
fn pass(live: &LiveSpans, first: u128) {
    for chunk in 0..5 {
        let traces = first + 100 * chunk..first + 100 * (chunk + 1);
        put(live, traces.flat_map(|number| done(number, "other", 1)));
    }
}

/// Waits until the route reports these lines. Then checks that the program itself reports the same.
async fn until_reported(app: &App, expected: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = app.get("/running?format=text").await.text().await.unwrap();
        let report = masked(&text);
        if report == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{report:#?}");
        tokio::task::yield_now().await;
    }
    let live = app.live.clone();
    let text = tokio::task::spawn_blocking(move || live.running_text());
    assert_eq!(masked(&text.await.unwrap()), expected);
}

/// Finds a trace by its short id, although only the store has the trace.
pub(super) async fn finds_stored_traces_by_short_ids<S: EventStore>(store: impl Fn() -> S) {
    let app = open(&store).await;
    put(&app.live, done(0xfeed_beef << 96, "stored", 1));
    put(
        &app.live,
        (1..20).flat_map(|number| done(number, "other", 1)),
    );
    app.live.shutdown().unwrap();
    drop(app);

    let app = open(&store).await;
    let text = tool(&app, "trace", &json!({"trace": "feedbeef"})).await;
    assert!(text.contains("stored"), "{text}");
    let text = tool(&app, "trace", &json!({"trace": "feedbee0"})).await;
    assert!(text.starts_with("no trace feedbee0 "), "{text}");
}

#[tokio::test]
async fn problems_that_a_report_cannot_read_are_counted() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let mut store = VecStore::new(IN_MEMORY);
    let broken = Arc::clone(&is_broken);
    store.on_read = Box::new(move || {
        if broken.load(Ordering::SeqCst) {
            return Err(Error::store("read a page", io::Error::other("broken")));
        }
        Ok(())
    });
    let live = LiveSpans::builder().store(store.share().0).build().unwrap();
    let app = App::serve(live).await;
    let failed = SpanStatus::Error("declined".to_owned());
    put(
        &app.live,
        [
            SpanEvent::started(trace(2), span(2), "pay"),
            SpanEvent::ended(trace(2), span(2), "pay", failed),
        ],
    );
    put(
        &app.live,
        (1..=6)
            .map(|number| SpanEvent::log(trace(2), span(2), "ERROR", format!("failure {number}"))),
    );
    let text = tool(&app, "problems", &json!({})).await;
    assert!(
        text.contains("\n7 problems: 6 error log, 1 error\n"),
        "{text}"
    );
    assert!(
        text.contains("\nTraces whose events have all left memory "),
        "{text}"
    );
    is_broken.store(true, Ordering::SeqCst);
    let text = tool(&app, "problems", &json!({})).await;
    assert!(text.contains("\n4 problems: 4 error log\n"), "{text}");
    let partly = "\nRead only in part: 1 trace with failed or slow spans.\n";
    assert!(text.contains(partly), "{text}");
    assert!(
        text.contains("\nCould not be read: 2 error logs.\n"),
        "{text}"
    );
}

/// Calls the MCP tool `problems`. Returns the lines that name a problem.
async fn problems(app: &App) -> Vec<String> {
    let text = tool(app, "problems", &json!({})).await;
    let lines = masked(&text).into_iter();
    lines
        .filter(|line| line.starts_with("quiet: ") || line.starts_with("lost: "))
        .collect()
}

/// Calls a tool over MCP. Returns its text.
async fn tool(app: &App, name: &str, arguments: &Json) -> String {
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    });
    let request = client().post(app.url("/mcp"));
    let request = request
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream");
    let answer = request.body(call.to_string()).send().await.unwrap();
    let answer: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap().to_owned()
}

/// Returns the lines of a text that are not empty, with `#` for each number and each id.
fn masked(text: &str) -> Vec<String> {
    let mask = |line: &str| {
        let mut masked = String::new();
        for letter in line.chars() {
            match letter {
                '0'..='9' if masked.ends_with('#') => {}
                '0'..='9' => masked.push('#'),
                other => masked.push(other),
            }
        }
        masked
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(mask).collect()
}
