//! The fuzz targets. For any bytes from outside, the log must answer without a panic, and its answer must be well
//! formed. `cargo fuzz` runs these functions for long; the tests run them with the seeds and with mutations of the
//! seeds.

use std::{
    cell::OnceCell,
    fs,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use livespan::{
    Access, Auth, LiveSpans, LiveSpansBuilder, SpanEvent, SqliteEventStore, TraceId,
    span::SpanStatus,
    sse::{EventId, resume_point},
};
use serde_json::Value;
use tower::ServiceExt as _;

/// Fuzzes ids, in every place where a client sends one.
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

/// Returns a builder of a log whose access rule admits every request. A request with the header `x-nothing` can read
/// nothing.
fn open_to_all() -> LiveSpansBuilder {
    LiveSpans::builder().auth(Auth::check(|request| {
        if request.headers.contains_key("x-nothing") {
            Access::nothing()
        } else {
            Access::everything()
        }
    }))
}

/// Number of traces in the small log.
const TRACES: usize = 2;

/// Returns a small log.
fn log(builder: LiveSpansBuilder) -> LiveSpans {
    let live = builder.build().expect("a log in memory opens");
    let trace = |byte| TraceId::from_bytes([byte; 16]).expect("the id is not zero");
    let span = "00f067aa0ba902b7".parse().expect("the id is valid");
    let failed = SpanStatus::Error("declined".to_owned());
    for event in [
        SpanEvent::started(trace(1), span, "checkout").service("shop"),
        SpanEvent::ended(trace(1), span, "checkout", SpanStatus::Ok).service("shop"),
        SpanEvent::started(trace(2), span, "charge").service("pay"),
        SpanEvent::ended(trace(2), span, "charge", failed).service("pay"),
    ] {
        live.target()
            .try_dispatch(&event)
            .expect("the buffer has room");
    }
    live.target()
        .flush(Duration::from_secs(30))
        .expect("a log in memory accepts events");
    // The log is shut down, so streams end at once.
    live.shutdown().expect("a log in memory shuts down");
    live
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the runtime starts")
}

/// Fuzzes requests. The first line is the path with its query; each further line is a header. Every response must be
/// complete and match its content type.
pub(crate) fn requests(data: &[u8]) {
    thread_local! {
        static LOG: OnceCell<(LiveSpans, tokio::runtime::Runtime)> = const { OnceCell::new() };
    }
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else {
        return;
    };
    let headers = data.get(
        data.iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(data.len())..,
    );
    let request = with_headers(Request::builder().uri(uri), headers.unwrap_or_default());
    let Ok(request) = request.body(Body::empty()) else {
        return;
    };
    LOG.with(|log_of_thread| {
        let (live, runtime) = log_of_thread.get_or_init(|| (log(open_to_all()), runtime()));
        runtime.block_on(answered(live, request));
    });
}

/// Adds the lines that are valid headers.
fn with_headers(mut request: http::request::Builder, lines: &[u8]) -> http::request::Builder {
    for line in lines.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts.next().map(HeaderValue::from_bytes);
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            request = request.header(name, value);
        }
    }
    request
}

/// Sends a request and returns the response. Panics if the response is incomplete or does not match its content type.
async fn answered(live: &LiveSpans, request: Request<Body>) -> (http::response::Parts, Vec<u8>) {
    let shown = format!("{request:?}");
    let has_body = request.method() != http::Method::HEAD;
    let response = live
        .router()
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    let status = parts.status;
    assert!(!status.is_server_error(), "{status} {shown}");
    let kind = parts.headers.get("content-type");
    let body = to_bytes(body, 1 << 24).await.expect("the body is complete");
    match kind.map(HeaderValue::as_bytes) {
        Some(b"application/json") if has_body => {
            let _json: Value =
                serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error} {shown}"));
        }
        Some(b"text/event-stream") => {
            let text = str::from_utf8(&body).expect("the stream is UTF-8");
            assert!(text.is_empty() || text.ends_with("\n\n"), "{shown}: {text}");
        }
        _ => {}
    }
    (parts, body.into())
}

/// A log whose readers need a token that nobody can guess, and the credentials that it accepts.
struct Locked {
    live: LiveSpans,
    token: String,
    trace: TraceId,
    runtime: tokio::runtime::Runtime,
}

impl Locked {
    fn open() -> Self {
        let token = format!("{:x}", RandomState::new().hash_one(0));
        let live = log(LiveSpans::builder().auth(Auth::token(&token)));
        Self {
            live,
            token,
            trace: TraceId::from_bytes([1; 16]).expect("the id is not zero"),
            runtime: runtime(),
        }
    }

    fn ticket(&self) -> String {
        self.live.ticket(self.trace, Duration::from_secs(600))
    }

    /// Returns the cookie that a browser sends after it has signed in.
    fn cookie(&self) -> String {
        let form = Request::post("/").header("sec-fetch-site", "same-origin");
        let form = form.body(Body::from(format!("token={}", self.token)));
        let (parts, _) = self.answer(form.expect("the request is valid"));
        let cookie = parts
            .headers
            .get("set-cookie")
            .expect("the response sets a cookie");
        let cookie = cookie
            .to_str()
            .expect("the cookie is text")
            .split(';')
            .next();
        cookie.unwrap_or_default().to_owned()
    }

    fn code(&self) -> String {
        let link = self
            .live
            .login_link("/")
            .expect("the system provides random numbers");
        link.rsplit('=').next().unwrap_or_default().to_owned()
    }

    fn answer(&self, request: Request<Body>) -> (http::response::Parts, Vec<u8>) {
        self.runtime.block_on(answered(&self.live, request))
    }

    /// Returns whether this response contains data that only readers may see, or signs its client in.
    fn is_open((parts, body): &(http::response::Parts, Vec<u8>)) -> bool {
        let name = b"checkout";
        parts.headers.contains_key("set-cookie") || body.windows(name.len()).any(|one| one == name)
    }
}

fn locked<R>(run: impl FnOnce(&Locked) -> R) -> R {
    thread_local! {
        static LOCKED: OnceCell<Locked> = const { OnceCell::new() };
    }
    LOCKED.with(|locked| run(locked.get_or_init(Locked::open)))
}

fn replace(data: &mut Vec<u8>, what: &[u8], with: impl Fn() -> String) -> bool {
    let found = |data: &[u8]| data.windows(what.len()).position(|one| one == what);
    let Some(at) = found(data) else {
        return false;
    };
    data.splice(at..at + what.len(), with().into_bytes());
    true
}

/// Fuzzes clients that want to read. The input is a method and a path, headers, an empty line, and a form. `{token}`,
/// `{cookie}`, `{ticket}` and `{code}` are replaced by valid ones. A request without any of them must reveal nothing.
pub(crate) fn readers(data: &[u8]) {
    locked(|locked| {
        let mut data = data.to_vec();
        let has_any = replace(&mut data, b"{token}", || locked.token.clone())
            | replace(&mut data, b"{cookie}", || locked.cookie())
            | replace(&mut data, b"{ticket}", || locked.ticket())
            | replace(&mut data, b"{code}", || locked.code());
        let end = data.windows(2).position(|two| two == b"\n\n");
        let (head, form) = data.split_at(end.unwrap_or(data.len()));
        let (first, headers) = head.split_at(
            head.iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(head.len()),
        );
        let mut words = first.splitn(2, |byte| *byte == b' ');
        let method = words.next().map(http::Method::from_bytes);
        let uri = words.next().map(Uri::try_from);
        let (Some(Ok(method)), Some(Ok(uri))) = (method, uri) else {
            return;
        };
        let request = with_headers(Request::builder().method(method).uri(uri), headers);
        let Ok(request) = request.body(Body::from(form.get(2..).unwrap_or_default().to_vec()))
        else {
            return;
        };
        let shown = format!("{request:?}");
        let answer = locked.answer(request);
        assert!(has_any || !Locked::is_open(&answer), "{shown}: {answer:?}");
    });
}

/// Fuzzes tickets. Each pair of bytes names a position and a byte, and replaces, removes or inserts a byte of a valid
/// ticket. No other text than the valid ticket may be accepted.
pub(crate) fn tickets(data: &[u8]) {
    locked(|locked| {
        let good = locked.ticket();
        let mut bytes = good.clone().into_bytes();
        for pair in data.chunks_exact(2) {
            let (place, byte) = (usize::from(pair[0] & 0x7f) % (bytes.len() + 1), pair[1]);
            match pair[0] >> 7 {
                0 if place < bytes.len() => bytes[place] = byte,
                _ if byte.is_multiple_of(8) && place < bytes.len() => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
        }
        let text: String = form_urlencoded::byte_serialize(&bytes).collect();
        let path = format!("/traces/{}/sse?ticket={text}", locked.trace);
        let request = Request::get(path)
            .body(Body::empty())
            .expect("the request is valid");
        let answer = locked.answer(request);
        // A ticket contains its expiry time, so a second valid ticket may differ from the first.
        let is_good = bytes == good.as_bytes() || bytes == locked.ticket().as_bytes();
        assert_eq!(Locked::is_open(&answer), is_good, "{good} {text}");
    });
}

/// Fuzzes searches in the list of traces. Each must be answered or refused. For a single word, each trace must match
/// either the word or its negation.
pub(crate) fn searches(data: &[u8]) {
    thread_local! {
        static LOG: OnceCell<(LiveSpans, tokio::runtime::Runtime)> = const { OnceCell::new() };
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    LOG.with(|log_of_thread| {
        let (live, runtime) = log_of_thread.get_or_init(|| (log(open_to_all()), runtime()));
        let found = |text: &str| {
            let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            let request = Request::get(format!("/traces?q={text}"));
            let request = request.body(Body::empty()).expect("the request is valid");
            let (parts, body) = runtime.block_on(answered(live, request));
            let body: Value = serde_json::from_slice(&body).expect("the body is JSON");
            match parts.status.as_u16() {
                200 => Some(body["traces"].as_array().map_or(0, Vec::len)),
                400 => None,
                other => panic!("{other} {text}"),
            }
        };
        let found_one = found(text);
        let is_word =
            !text.starts_with('-') && !text.contains(|one: char| one.is_whitespace() || one == '"');
        if is_word && !text.is_empty() && text.len() < 1000 {
            let others = found(&format!("-{text}"));
            assert_eq!(found_one.map(|found| TRACES - found), others, "{text:?}");
        }
    });
}

/// Fuzzes senders of OTLP. The bits of the first byte select JSON, logs and gzip; the rest is the body. Each request
/// must be answered in its own type, and never with a fault of the server.
#[cfg(feature = "otlp")]
pub(crate) fn otlp(data: &[u8]) {
    thread_local! {
        static LOG: OnceCell<(LiveSpans, tokio::runtime::Runtime)> = const { OnceCell::new() };
    }
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let has = |bit: u8| choice & bit != 0;
    let kind = if has(1) {
        "application/json"
    } else {
        "application/x-protobuf"
    };
    let path = if has(2) { "/v1/logs" } else { "/v1/traces" };
    let mut request = Request::post(path).header("content-type", kind);
    if has(4) {
        request = request.header("content-encoding", "gzip");
    }
    let request = request
        .body(Body::from(body.to_vec()))
        .expect("the request is valid");
    LOG.with(|log_of_thread| {
        let (live, runtime) = log_of_thread.get_or_init(|| {
            let builder = open_to_all().otlp(livespan::otlp::OtlpReceiver::default());
            (builder.build().expect("a log in memory opens"), runtime())
        });
        let (parts, body) = runtime.block_on(answered(live, request));
        let answered_as = parts.headers.get("content-type").map(HeaderValue::as_bytes);
        assert_eq!(answered_as, Some(kind.as_bytes()), "{body:?}");
        assert!(
            matches!(parts.status.as_u16(), 200 | 400 | 413),
            "{parts:?}"
        );
    });
}

/// Fuzzes files of traces. Each must become events that a log accepts, or an error with a message.
#[cfg(feature = "otlp")]
pub(crate) fn files(data: &[u8]) {
    match livespan::otlp::ImportedFile::read(data) {
        Ok(file) => {
            for event in file.events() {
                let again = livespan::span::EncodedEvent::new(event.payload());
                assert_eq!(&again.expect("the event is accepted again"), event);
            }
            assert!(
                file.left_out()
                    .all(|(what, count)| !what.is_empty() && count > 0)
            );
        }
        Err(error) => assert_ne!(error.to_string(), ""),
    }
}

/// Fuzzes a log file that another program has changed: it has livespan's tables, with these bytes in a column. The
/// store must open or refuse it, and reading it to its end must not panic.
pub(crate) fn rows(data: &[u8]) {
    let place = std::env::temp_dir().join(format!("livespan-fuzz-{}", std::process::id()));
    fs::create_dir_all(&place).expect("the folder can be created");
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
        let live = build().expect("a log in a new file opens");
        let trace = TraceId::from_bytes([1; 16]).expect("the id is not zero");
        let span = "00f067aa0ba902b7".parse().expect("the id is valid");
        let event = SpanEvent::started(trace, span, "checkout").service("shop");
        live.target()
            .try_dispatch(&event)
            .expect("the buffer has room");
        live.target()
            .flush(Duration::from_secs(30))
            .expect("the file accepts events");
        live.shutdown().expect("the log in the file shuts down");
    }
    spoil(&file, data);
    if let Ok(live) = build() {
        live.shutdown().ok();
        let request = |path: &str| {
            let request = Request::builder().uri(path).header("host", "localhost");
            request.body(Body::empty()).expect("the request is valid")
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

/// Writes the input into a column: the first byte selects the table and the column, the rest is the value.
fn spoil(file: &std::path::Path, data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let database = rusqlite::Connection::open(file).expect("SQLite opens the file");
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
        .expect("the file has tables");
    let (table, column) = &columns[usize::from(choice) % columns.len()];
    let update = format!("UPDATE \"{table}\" SET \"{column}\" = ?1");
    // A constraint may refuse the value, which is fine.
    let _changed = match str::from_utf8(bytes).ok().map(str::parse::<i64>) {
        Some(Ok(number)) => database.execute(&update, [number]),
        Some(Err(_)) => database.execute(&update, [str::from_utf8(bytes).unwrap_or_default()]),
        None => database.execute(&update, [bytes]),
    };
}
