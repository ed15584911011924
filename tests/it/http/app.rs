//! An app with a server of its own, and a client that reads event streams.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{Request, Response};
use livespan::{
    LiveServer, LiveSpans, SpanEvent, SpanId, TraceId,
    span::{SpanKind, SpanStatus},
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tower::ServiceExt as _;

use crate::support::PATIENCE;

/// The embedded page, which contains the names of its files.
const PAGE: &str = include_str!("../../../src/dashboard/bundle/index.html");

/// Returns the path of the page's script.
pub(crate) fn script() -> &'static str {
    asset("app", "js")
}

/// Returns the path of a file that the page loads, such as `/assets/app-0123456789abcdef.js`.
pub(crate) fn asset(stem: &str, ending: &str) -> &'static str {
    static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let quoted = PAGE.split('"').filter(|text| text.starts_with("assets/"));
        quoted.map(|text| format!("/{text}")).collect()
    });
    let is_wanted = |path: &&String| {
        path.starts_with(&format!("/assets/{stem}-")) && path.ends_with(&format!(".{ending}"))
    };
    PATHS
        .iter()
        .find(is_wanted)
        .expect("the page does not load this file")
}

/// A log that is served on its own free port.
pub(crate) struct App {
    pub(crate) live: LiveSpans,
    pub(crate) server: LiveServer,
    pub(crate) client: reqwest::Client,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::serve(log()).await
    }

    pub(crate) async fn serve(live: LiveSpans) -> Self {
        let server = live.serve("127.0.0.1:0").await.unwrap();
        Self {
            live,
            server,
            client: client(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}", self.server.url(), path.strip_prefix('/').unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        timeout(PATIENCE, self.client.get(self.url(path)).send())
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) async fn stream(&self, path: &str) -> Stream {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        Stream::of(response)
    }

    /// Opens a connection and sends this request as raw bytes.
    pub(crate) async fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Returns everything that the server sends for this request until it closes the connection.
    pub(crate) async fn raw_answer(&self, request: &str) -> String {
        let mut stream = self.raw(request).await;
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(answer).unwrap()
    }
}

pub(crate) fn log() -> LiveSpans {
    LiveSpans::builder().build().unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Returns the tracer provider of an app whose spans go to the log.
pub(crate) fn provider(live: &LiveSpans) -> SdkTracerProvider {
    let resource = opentelemetry_sdk::Resource::builder_empty()
        .with_service_name("shop")
        .build();
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(live.span_processor())
        .build()
}

/// Stores the events. They are visible when this returns.
pub(crate) fn put(live: &LiveSpans, events: impl IntoIterator<Item = SpanEvent>) {
    for event in events {
        live.target().try_dispatch(&event).unwrap();
    }
    live.target().flush(PATIENCE).unwrap();
}

pub(crate) fn trace(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes()).unwrap()
}

pub(crate) fn span(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

/// Returns the time this many milliseconds after 2026-01-01T00:00:00Z.
pub(crate) fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_767_225_600_000 + milliseconds)
}

/// Returns a trace of one span that took this many milliseconds.
pub(crate) fn done(number: u128, name: &str, milliseconds: u64) -> [SpanEvent; 2] {
    let (trace, span) = (trace(number), span(1));
    [
        SpanEvent::started(trace, span, name)
            .service("shop")
            .at(at(0)),
        SpanEvent::ended(trace, span, name, SpanStatus::Unset)
            .service("shop")
            .started_at(at(0))
            .at(at(milliseconds)),
    ]
}

/// Returns a checkout of two spans, the second of which fails.
pub(crate) fn checkout(number: u128) -> [SpanEvent; 4] {
    let trace = trace(number);
    let (root, child) = (span(1), span(2));
    let failed = SpanStatus::Error("card declined".to_owned());
    [
        SpanEvent::started(trace, root, "checkout")
            .service("shop")
            .kind(SpanKind::Server)
            .at(at(0)),
        SpanEvent::started(trace, child, "charge")
            .service("pay")
            .parent(root)
            .at(at(5)),
        SpanEvent::ended(trace, child, "charge", failed)
            .service("pay")
            .parent(root)
            .started_at(at(5))
            .at(at(15)),
        SpanEvent::ended(trace, root, "checkout", SpanStatus::Ok)
            .service("shop")
            .kind(SpanKind::Server)
            .attribute("cart.items", 3_i64)
            .started_at(at(0))
            .at(at(20)),
    ]
}

/// The fields of one frame of an event stream; a missing field is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) data: String,
    pub(crate) retry: String,
}

impl Frame {
    fn parse(text: &str) -> Self {
        let mut frame = Self::default();
        for line in text.lines() {
            let (field, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{line:?} is no field"));
            let slot = match field {
                "event" => &mut frame.event,
                "id" => &mut frame.id,
                "data" => &mut frame.data,
                "retry" => &mut frame.retry,
                _ => panic!("{line:?} is a field that livespan does not send"),
            };
            assert_eq!(slot, "", "{text:?} has a field twice");
            value.clone_into(slot);
        }
        frame
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub(crate) fn sequence(&self) -> u64 {
        sequence(&self.id)
    }
}

pub(crate) fn sequence(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// An event stream that a test reads.
pub(crate) struct Stream {
    pieces: BoxStream<'static, Bytes>,
    buffer: Vec<u8>,
}

impl Stream {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        Self::new(
            response
                .bytes_stream()
                .take_while(|piece| std::future::ready(piece.is_ok()))
                .map(Result::unwrap),
        )
    }

    pub(crate) fn of_body(body: Body) -> Self {
        Self::new(body.into_data_stream().map(Result::unwrap))
    }

    fn new(pieces: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Self {
        Self {
            pieces: pieces.boxed(),
            buffer: Vec::new(),
        }
    }

    /// Returns the next complete frame, or `None` when the body has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let text = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
                return Some(Frame::parse(text.trim_end_matches('\n')));
            }
            let piece = timeout(PATIENCE, self.pieces.next())
                .await
                .expect("the next frame did not come in time");
            self.buffer.extend(piece?);
        }
    }

    /// Returns the next frame with this event name.
    pub(crate) async fn event(&mut self, name: &str) -> Frame {
        loop {
            let frame = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended before {name}"));
            if frame.event == name {
                return frame;
            }
        }
    }

    /// Returns the next event of the log.
    pub(crate) async fn event_with_id(&mut self) -> Frame {
        loop {
            let frame = self
                .next()
                .await
                .expect("the stream ended before an event came");
            if !frame.id.is_empty() && !frame.data.is_empty() {
                return frame;
            }
        }
    }

    /// Returns all frames until the body ends.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Returns the frames between `hello` and `end` of a stream that has just begun and ends for this reason.
    pub(crate) async fn transcript(mut self, reason: &str) -> Vec<Frame> {
        let mut frames = self.rest().await;
        assert_eq!(frames[0].event, "");
        assert_eq!(frames[1].event, "hello");
        let end = frames.pop().unwrap();
        if reason == "shutdown" {
            assert_ne!(frames.pop().unwrap().retry, "");
        }
        assert_eq!(
            end.data,
            format!("{{\"type\":\"end\",\"reason\":\"{reason}\"}}")
        );
        frames.split_off(2)
    }
}

/// Sends a request to a router, without a socket.
pub(crate) async fn ask(router: Router, path: &str) -> Response<Body> {
    let request = Request::builder()
        .uri(path)
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    router.oneshot(request).await.unwrap()
}

/// Returns the whole body of a response.
pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 16 << 20).await;
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

/// Opens an event stream, without a socket.
pub(crate) async fn open(live: &LiveSpans, path: &str) -> Stream {
    let response = ask(live.router(), path).await;
    assert_eq!(response.status(), 200, "{path}");
    Stream::of_body(response.into_body())
}

/// Returns all frames that a stream replays. The log is shut down, so that the stream ends.
pub(crate) async fn replay(live: &LiveSpans, path: &str) -> Vec<Frame> {
    live.shutdown().unwrap();
    open(live, path).await.transcript("shutdown").await
}

/// Replaces the parts of a response that differ between runs: the epoch and `now`.
pub(crate) fn normal(mut answer: Value, live: &LiveSpans) -> Value {
    let epoch = live.target().head().epoch().to_string();
    if let Some(now) = answer.get_mut("now") {
        assert_eq!(
            now.as_str().unwrap().len(),
            "2026-01-01T00:00:00.000000000Z".len()
        );
        *now = "NOW".into();
    }
    serde_json::from_str(&answer.to_string().replace(&epoch, "EPOCH")).unwrap()
}

/// Waits until the condition holds. Other tasks run meanwhile.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("the condition did not come true in time");
}
