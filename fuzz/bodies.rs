//! What is fuzzed: whatever bytes come from outside, the log answers without a panic, and what it answers makes sense.
//! `cargo fuzz` runs these for long, and the tests run them over the seeds and mutations of them.

use std::{cell::OnceCell, fs, time::Duration};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use livespan::{
    Access, Auth, EventId, LiveSpans, SpanEvent, SpanStatus, SqliteEventStore, TraceId,
    resume_point,
};
use serde_json::Value;
use tower::ServiceExt as _;

/// Ids, in every place where a client names one.
pub(crate) fn ids(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        let shown = id.to_string();
        assert!(shown.len() <= 64, "{shown}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(shown.bytes().all(is_plain), "{shown}");
    }
    if let Ok(trace) = text.parse::<TraceId>() {
        assert_eq!(trace.to_string().parse::<TraceId>().unwrap(), trace);
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(data) {
        headers.insert("last-event-id", value);
    }
    let _point = resume_point(&headers, &Uri::from_static("/sse"));
    if let Ok(uri) = format!("/sse?lastEventId={text}").parse() {
        let _point = resume_point(&HeaderMap::new(), &uri);
    }
}

/// A small log, with a rule that lets everything in.
fn log() -> LiveSpans {
    let live = LiveSpans::builder()
        .auth(Auth::check(|request| {
            if request.headers.contains_key("x-nothing") {
                Access::nothing()
            } else {
                Access::everything()
            }
        }))
        .build()
        .expect("a log in memory opens");
    let trace = TraceId::from_bytes([1; 16]).expect("it is not zero");
    let span = "00f067aa0ba902b7".parse().expect("it is an id");
    for event in [
        SpanEvent::started(trace, span, "checkout").service("shop"),
        SpanEvent::ended(trace, span, "checkout", SpanStatus::Ok).service("shop"),
    ] {
        live.target().try_dispatch(&event).expect("there is room");
    }
    live.target()
        .flush(Duration::from_secs(30))
        .expect("memory takes it");
    // Streams end at once.
    live.shutdown().expect("memory ends at once");
    live
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime starts")
}

/// Requests: the first line is the path with its query, each further one a header. Every answer is whole and is what its
/// type says.
pub(crate) fn requests(data: &[u8]) {
    thread_local! {
        static LOG: OnceCell<(LiveSpans, tokio::runtime::Runtime)> = const { OnceCell::new() };
    }
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else {
        return;
    };
    let mut request = Request::builder().uri(uri);
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts.next().map(HeaderValue::from_bytes);
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(Body::empty()) else {
        return;
    };
    LOG.with(|log_of_thread| {
        let (live, runtime) = log_of_thread.get_or_init(|| (log(), runtime()));
        runtime.block_on(answered(live, request));
    });
}

async fn answered(live: &LiveSpans, request: Request<Body>) {
    let shown = format!("{request:?}");
    let response = live
        .router()
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    let status = response.status();
    assert!(!status.is_server_error(), "{status} {shown}");
    let kind = response.headers().get("content-type").cloned();
    let body = to_bytes(response.into_body(), 1 << 24)
        .await
        .expect("it is whole");
    match kind.as_ref().map(HeaderValue::as_bytes) {
        Some(b"application/json") => {
            let _json: Value =
                serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error} {shown}"));
        }
        Some(b"text/event-stream") => {
            let text = str::from_utf8(&body).expect("streams are text");
            assert!(text.is_empty() || text.ends_with("\n\n"), "{shown}: {text}");
        }
        _ => {}
    }
}

/// Rows of a log file as somebody else may have left them: its tables with these bytes in their columns. It is opened or
/// refused, and read to its end.
pub(crate) fn rows(data: &[u8]) {
    let place = std::env::temp_dir().join(format!("livespan-fuzz-{}", std::process::id()));
    fs::create_dir_all(&place).expect("there is a place for files");
    let file = place.join("spans.db");
    for ending in ["", "-wal", "-shm", "-lock"] {
        drop(fs::remove_file(place.join(format!("spans.db{ending}"))));
    }
    let build = || {
        LiveSpans::builder()
            .store(SqliteEventStore::new(&file))
            .build()
    };
    {
        let live = build().expect("a new file opens");
        let trace = TraceId::from_bytes([1; 16]).expect("it is not zero");
        let span = "00f067aa0ba902b7".parse().expect("it is an id");
        let event = SpanEvent::started(trace, span, "checkout").service("shop");
        live.target().try_dispatch(&event).expect("there is room");
        live.target()
            .flush(Duration::from_secs(30))
            .expect("the file takes it");
        live.shutdown().expect("the file is closed");
    }
    spoil(&file, data);
    if let Ok(live) = build() {
        live.shutdown().ok();
        let request = |path: &str| {
            let request = Request::builder().uri(path).header("host", "localhost");
            request.body(Body::empty()).expect("it is a request")
        };
        runtime().block_on(async {
            for path in [
                "/sse",
                "/traces",
                "/traces/01010101010101010101010101010101",
            ] {
                let response = live.router().oneshot(request(path)).await;
                let response = response.unwrap_or_else(|never| match never {});
                let _whole = to_bytes(response.into_body(), 1 << 24).await;
            }
        });
    }
    drop(fs::remove_dir_all(&place));
}

/// The first byte says which column of which table, the rest is put into it.
fn spoil(file: &std::path::Path, data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let database = rusqlite::Connection::open(file).expect("SQLite opens it");
    let columns: Vec<(String, String)> = database
        .prepare(
            "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' \
             ORDER BY m.name, c.cid",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .expect("it has tables");
    let (table, column) = &columns[usize::from(choice) % columns.len()];
    let update = format!("UPDATE \"{table}\" SET \"{column}\" = ?1");
    // A constraint may forbid it, which is as well.
    let _changed = match str::from_utf8(bytes).ok().map(str::parse::<i64>) {
        Some(Ok(number)) => database.execute(&update, [number]),
        Some(Err(_)) => database.execute(&update, [str::from_utf8(bytes).unwrap_or_default()]),
        None => database.execute(&update, [bytes]),
    };
}
