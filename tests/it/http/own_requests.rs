//! A viewer's own requests do not appear among the spans that it views, with several kinds of
//! middleware.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, routing::get};
use livespan::LiveSpans;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::{Instrument as _, Level, Span};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::app::{App, Frame, Stream, client, log, provider, replay, script};

/// An instrumented app. Its spans on this thread go to the log through `tracing`.
struct Instrumented {
    live: LiveSpans,
    provider: SdkTracerProvider,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Instrumented {
    fn new() -> Self {
        let live = log();
        let provider = provider(&live);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("app"));
        let subscriber = tracing_subscriber::registry().with(layer).set_default();
        Self {
            live,
            provider,
            _subscriber: subscriber,
        }
    }

    /// Returns the events of spans, each as `event name path`.
    async fn transcript(self) -> Vec<String> {
        self.provider.force_flush().unwrap();
        self.provider.shutdown().unwrap();
        let frames = replay(&self.live, "/sse").await;
        frames
            .iter()
            .filter(|frame| frame.event != "process")
            .map(line)
            .collect()
    }
}

fn line(frame: &Frame) -> String {
    let payload = frame.json();
    let path = ["uri", "url.path"]
        .iter()
        .find_map(|key| payload["attributes"][key].as_str());
    format!(
        "{} {} {}",
        frame.event,
        payload["name"].as_str().unwrap(),
        path.unwrap_or("-")
    )
}

fn hello() -> Router {
    Router::new().route(
        "/hello",
        get(async || {
            async { "hello" }
                .instrument(tracing::info_span!("work"))
                .await
        }),
    )
}

/// Returns the events that a request to the app's own route leaves in the log.
fn own(name: &str, path: &str) -> Vec<String> {
    let lines = [
        ("started", name, path),
        ("started", "work", "-"),
        ("ended", "work", "-"),
        ("ended", name, path),
    ];
    lines
        .iter()
        .map(|(event, name, path)| format!("{event} {name} {path}"))
        .collect()
}

/// The log waits this long for the report that a span belongs to one of its own requests.
const LOG_WAITS: Duration = Duration::from_millis(100);

thread_local! {
    /// The time of the slowest request of a round.
    static SLOWEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

async fn ask(app: &Router, path: &str) -> http::Response<Body> {
    let request = Request::builder()
        .uri(path)
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    let begun = Instant::now();
    let response = app.clone().oneshot(request).await.unwrap();
    SLOWEST.set(SLOWEST.get().max(begun.elapsed()));
    response
}

/// Calls `round` up to `rounds` times, and compares the transcript of each with the expected one. On a busy machine, a
/// request may take longer than the log waits for it. Such a round proves nothing, so only the other rounds count.
async fn compare(rounds: usize, round: impl AsyncFn() -> (Instrumented, Vec<String>)) {
    let mut compared = 0;
    for _ in 0..rounds {
        let (host, expected) = round().await;
        let transcript = host.transcript().await;
        if SLOWEST.take() < LOG_WAITS / 2 {
            assert_eq!(transcript, expected);
            compared += 1;
        }
    }
    assert!(compared > 0, "each round had a slow request");
}

async fn body_json(response: http::Response<Body>) -> Value {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// The number of requests of a visit.
const VISIT_REQUESTS: u64 = 9;

/// Visits the dashboard: the page, its script, some JSON routes, and streams.
async fn visit(app: &Router, prefix: &str) {
    // Under `.nest`, axum does not answer the page's address with a slash at the end.
    let page = if prefix.is_empty() { "/" } else { "" };
    for path in [
        page,
        script(),
        "/traces",
        "/status",
        "/stats/durations?service=a&name=b",
        "/traces/nothing",
    ] {
        let path = format!("{prefix}{path}");
        let response = ask(app, &path).await;
        assert!(
            response.headers().contains_key("referrer-policy"),
            "{path} was not answered by livespan"
        );
        drop(
            axum::body::to_bytes(response.into_body(), usize::MAX)
                .await
                .unwrap(),
        );
    }
    let mut streams = Vec::new();
    for path in [
        "/sse?replay=none",
        "/traces/sse",
        "/traces/00000000000000000000000000000001/sse?until=end",
    ] {
        let mut stream = Stream::of_body(ask(app, &format!("{prefix}{path}")).await.into_body());
        stream.event("hello").await;
        streams.push(stream);
    }
}

macro_rules! traced {
    ($app:expr) => {
        $app.layer(
            TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().level(Level::TRACE)),
        )
    };
}

#[tokio::test]
async fn viewers_of_a_mounted_service_are_hidden_from_the_first_request_on() {
    compare(50, async || {
        let host = Instrumented::new();
        let app = traced!(hello().nest_service("/live", host.live.router()));
        visit(&app, "/live").await;
        ask(&app, "/hello").await;
        visit(&app, "/live").await;
        drop(app);
        (host, own("request", "/hello"))
    })
    .await;
}

#[tokio::test]
async fn viewers_of_a_nested_router_are_hidden_from_the_first_request_on() {
    compare(50, async || {
        let host = Instrumented::new();
        let nested = Router::new().nest("/live", host.live.router());
        let app = traced!(hello().nest("/tools", nested));
        // A browser first requests the page alone.
        drop(ask(&app, "/tools/live").await);
        visit(&app, "/tools/live").await;
        ask(&app, "/hello").await;
        drop(app);
        (host, own("request", "/hello"))
    })
    .await;
}

#[tokio::test]
async fn viewers_of_a_router_at_the_root_are_hidden() {
    compare(20, async || {
        let host = Instrumented::new();
        let app = traced!(hello().fallback_service(host.live.router()));
        visit(&app, "").await;
        ask(&app, "/hello").await;
        visit(&app, "").await;
        drop(app);
        (host, own("request", "/hello"))
    })
    .await;
}

/// Makes spans whose attributes look like requests to a router at the root. Each has its own child.
fn make_lookalikes(provider: &SdkTracerProvider) -> Vec<String> {
    let tracer = provider.tracer("app");
    let lookalikes = [
        (
            "stripe",
            SpanKind::Client,
            "url.full",
            "https://api.stripe.com/",
        ),
        ("bucket", SpanKind::Client, "uri", "/assets/logo.png"),
        ("publish", SpanKind::Producer, "http.target", "/sse"),
        ("consume", SpanKind::Consumer, "url.path", "/traces"),
        ("resize", SpanKind::Internal, "path", "/assets/logo.png"),
        (
            "crawl",
            SpanKind::Internal,
            "url.full",
            "http://localhost/status",
        ),
        ("public page", SpanKind::Server, "url.path", "/"),
        (
            "public status",
            SpanKind::Server,
            "http.target",
            "/status?full=1",
        ),
        (
            "other host",
            SpanKind::Server,
            "http.url",
            "http://other.example/",
        ),
    ];
    let mut expected = Vec::new();
    for (name, kind, key, value) in lookalikes {
        let attributes = [
            KeyValue::new(key, value),
            KeyValue::new("http.request.method", "GET"),
        ];
        let span = tracer
            .span_builder(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .start(&tracer);
        let context = Context::new().with_span(span);
        tracer.start_with_context("child", &context).end();
        context.span().end();
        let path = if matches!(key, "uri" | "url.path") {
            value
        } else {
            "-"
        };
        expected.extend([
            format!("started {name} {path}"),
            "started child -".to_owned(),
            "ended child -".to_owned(),
            format!("ended {name} {path}"),
        ]);
    }
    expected
}

#[tokio::test]
async fn only_requests_to_a_router_at_the_root_are_hidden_and_they_are_counted() {
    let host = Instrumented::new();
    let app = traced!(hello().fallback_service(host.live.router()));
    visit(&app, "").await;
    let expected = make_lookalikes(&host.provider);
    visit(&app, "").await;
    let live = host.live.clone();
    assert_eq!(host.transcript().await, expected);
    let status: Value = body_json(ask(&live.router(), "/status").await).await;
    assert_eq!(status["ownRequestSpans"], 2 * VISIT_REQUESTS);
}

#[tokio::test]
async fn outgoing_requests_below_the_path_of_a_mounted_router_are_shown() {
    let host = Instrumented::new();
    let app = traced!(hello().nest_service("/live", host.live.router()));
    visit(&app, "/live").await;
    let tracer = host.provider.tracer("app");
    for (name, kind) in [("fetch", SpanKind::Client), ("job", SpanKind::Internal)] {
        let url = KeyValue::new("url.full", "https://other.example/live/sse");
        tracer
            .span_builder(name)
            .with_kind(kind)
            .with_attributes([url])
            .start(&tracer)
            .end();
    }
    let expected = [
        "started fetch -",
        "ended fetch -",
        "started job -",
        "ended job -",
    ];
    assert_eq!(host.transcript().await, expected);
}

#[tokio::test]
async fn viewers_are_hidden_even_if_their_spans_lack_the_path() {
    compare(50, async || {
        let host = Instrumented::new();
        let app = hello().nest_service("/live", host.live.router());
        let app = app.layer(
            TraceLayer::new_for_http().make_span_with(|_: &Request| tracing::info_span!("http")),
        );
        visit(&app, "/live").await;
        ask(&app, "/hello").await;
        visit(&app, "/live").await;
        visit(&app, "/live").await;
        drop(app);
        (host, own("http", "-"))
    })
    .await;
}

#[tokio::test]
async fn viewers_are_hidden_even_if_the_hosts_layer_is_inside_the_mount() {
    compare(20, async || {
        let host = Instrumented::new();
        let app = hello().nest("/live", traced!(host.live.router()));
        let app = traced!(app);
        visit(&app, "/live").await;
        visit(&app, "/live").await;
        ask(&app, "/hello").await;
        drop(app);
        (host, own("request", "/hello"))
    })
    .await;
}

#[tokio::test]
async fn children_of_a_viewers_span_are_hidden_with_it() {
    compare(20, async || {
        let host = Instrumented::new();
        let app = hello().nest_service("/live", host.live.router());
        let inner =
            axum::middleware::from_fn(async |request: Request, next: axum::middleware::Next| {
                next.run(request)
                    .instrument(tracing::info_span!("authorise"))
                    .await
            });
        let app = traced!(app.route_layer(inner.clone()));
        visit(&app, "/live").await;
        let app = TraceLayer::new_for_http()
            .make_span_with(|_: &Request| tracing::info_span!("outer"))
            .layer(app);
        drop(app);
        (host, Vec::<String>::new())
    })
    .await;
}

#[tokio::test]
async fn the_hosts_own_routes_that_look_alike_are_shown() {
    let host = Instrumented::new();
    let own_routes = ["/status", "/traces", "/lively", "/live-status", "/sse"];
    let routes = own_routes.iter().fold(Router::new(), |app, path| {
        app.route(path, get(async || "mine"))
    });
    let app = traced!(routes.nest_service("/live", host.live.router()));
    visit(&app, "/live").await;
    for path in own_routes {
        ask(&app, path).await;
    }
    drop(app);
    let expected: Vec<String> = own_routes
        .iter()
        .flat_map(|path| {
            [
                format!("started request {path}"),
                format!("ended request {path}"),
            ]
        })
        .collect();
    assert_eq!(host.transcript().await, expected);
}

/// The server, the worker and the streams make no spans, even in an instrumented app.
#[tokio::test]
async fn our_own_server_makes_no_spans() {
    let host = Instrumented::new();
    let app = App::serve(host.live.clone()).await;
    for path in ["/", "/traces", "/status"] {
        app.client
            .get(app.url(path))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    let mut stream = app.stream("/sse").await;
    stream.event("hello").await;
    drop(stream);
    drop(Span::current());
    assert_eq!(host.transcript().await, Vec::<String>::new());
}

#[tokio::test]
async fn viewers_over_real_connections_are_hidden() {
    compare(5, async || {
        let host = Instrumented::new();
        let app = traced!(hello().nest_service("/live", host.live.router()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let url = format!("http://{address}");
        let begun = Instant::now();
        let response = client().get(format!("{url}/live/sse")).send().await;
        SLOWEST.set(begun.elapsed());
        let mut stream = Stream::of(response.unwrap());
        stream.event("hello").await;
        client()
            .get(format!("{url}/live/traces"))
            .send()
            .await
            .unwrap();
        client().get(format!("{url}/hello")).send().await.unwrap();
        assert_eq!(
            line(&stream.event("started").await),
            "started request /hello"
        );
        drop(stream);
        serving.abort();
        (host, own("request", "/hello"))
    })
    .await;
}
