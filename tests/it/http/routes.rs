//! Every route, with its status, its headers, and its whole response.

use livespan::{LiveSpans, SpanEvent};
use serde_json::{Value, json};

use super::app::{App, ask, at, checkout, done, log, normal, open, put, script, span, trace};

const TRACE: &str = "00000000000000000000000000000001";

fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn streams_have_the_headers_that_keep_proxies_from_holding_them_back() {
    let app = App::start().await;
    for path in [
        "/sse",
        "/traces/sse",
        &format!("/traces/{TRACE}/sse"),
        &format!("/traces/{TRACE}/sse?until=end"),
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            header(&response, "content-type"),
            "text/event-stream",
            "{path}"
        );
        assert_eq!(
            header(&response, "cache-control"),
            "no-cache, no-transform",
            "{path}"
        );
        assert_eq!(header(&response, "x-accel-buffering"), "no", "{path}");
        assert_eq!(
            header(&response, "x-content-type-options"),
            "nosniff",
            "{path}"
        );
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            "",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_stream_begins_at_once_with_retry_and_hello() {
    let app = App::start().await;
    for path in [
        "/sse",
        "/sse?replay=none",
        "/traces/sse",
        &format!("/traces/{TRACE}/sse"),
    ] {
        let mut stream = app.stream(path).await;
        let retry = stream.next().await.unwrap();
        assert!(
            (1000..3000).contains(&retry.retry.parse::<u64>().unwrap()),
            "{path}"
        );
        let hello = stream.next().await.unwrap();
        assert_eq!(
            (hello.event.as_str(), hello.id.as_str()),
            ("hello", ""),
            "{path}"
        );
        let expected = json!({
            "type": "hello", "protocol": 1, "epoch": "EPOCH", "oldest": "EPOCH-1", "head": "EPOCH-0", "now": "NOW",
            "pingSeconds": 15, "server": "livespan/0.1.0",
        });
        assert_eq!(normal(hello.json(), &app.live), expected, "{path}");
    }
}

#[tokio::test]
async fn the_stream_of_all_events_replays_and_goes_on() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let mut stream = app.stream("/sse").await;
    for (sequence, event) in [(1, "started"), (2, "started"), (3, "ended"), (4, "ended")] {
        let frame = stream.event(event).await;
        assert_eq!(frame.sequence(), sequence);
    }
    put(&app.live, done(2, "later", 1));
    let frame = stream.next().await.unwrap();
    assert_eq!(frame.sequence(), 5);
    assert_eq!(
        frame.json(),
        json!({
            "type": "started", "traceId": trace(2).to_string(), "spanId": span(1).to_string(), "parentSpanId": null,
            "name": "later", "kind": "INTERNAL", "process": "", "service": "shop", "scope": "", "attributes": {},
            "timestamp": "2026-01-01T00:00:00.000000000Z",
        })
    );
}

fn root() -> Value {
    json!({
        "type": "ended", "traceId": TRACE, "spanId": "0000000000000001", "parentSpanId": null, "name": "checkout",
        "kind": "SERVER", "process": "", "service": "shop", "scope": "", "status": {"code": "OK", "explicit": true},
        "attributes": {"cart.items": 3}, "startTimestamp": "2026-01-01T00:00:00.000000000Z",
        "timestamp": "2026-01-01T00:00:00.020000000Z",
    })
}

fn child() -> Value {
    json!({
        "type": "ended", "traceId": TRACE, "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
        "name": "charge", "kind": "INTERNAL", "process": "", "service": "pay", "scope": "",
        "status": {"code": "ERROR", "message": "card declined"}, "attributes": {},
        "startTimestamp": "2026-01-01T00:00:00.005000000Z", "timestamp": "2026-01-01T00:00:00.015000000Z",
    })
}

fn summary() -> Value {
    json!({
        "traceId": TRACE, "name": "checkout", "service": "shop", "kind": "SERVER", "state": "ok",
        "rootSpanId": "0000000000000001",
        "startTimestamp": "2026-01-01T00:00:00.000000000Z", "endTimestamp": "2026-01-01T00:00:00.020000000Z",
        "lastTimestamp": "2026-01-01T00:00:00.020000000Z", "durationMs": 20.0,
        "spans": {"total": 2, "open": 0, "errors": 1, "lost": 0},
        "services": [{"name": "shop", "spans": 1, "errors": 0}, {"name": "pay", "spans": 1, "errors": 1}],
        "rootAttributes": {"cart.items": 3},
        "error": {"spanId": "0000000000000002", "name": "charge", "message": "card declined"},
        "firstId": "EPOCH-1", "lastId": "EPOCH-4",
    })
}

#[tokio::test]
async fn a_trace_is_answered_whole() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let path = format!("/traces/{TRACE}");
    let response = app.get(&path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "cache-control"), "no-store");
    let expected = json!({
        "traceId": TRACE, "cursor": "EPOCH-4", "now": "NOW", "summary": summary(), "processes": [],
        // In log order.
        "spans": [child(), root()], "updates": [], "logs": [],
    });
    assert_eq!(normal(response.json().await.unwrap(), &app.live), expected);
    // Hex digits may be upper or lower case.
    assert_eq!(
        normal(
            app.json(&path.to_uppercase().replace("TRACES", "traces"))
                .await,
            &app.live
        ),
        expected
    );
}

#[tokio::test]
async fn an_open_trace_shows_starts_updates_and_logs() {
    let app = App::start().await;
    let [started, child_started, child_ended, _] = checkout(1);
    let waiting =
        SpanEvent::updated(trace(1), span(1), Some(livespan::span::SpanState::Waiting)).at(at(6));
    let outdated = SpanEvent::updated(trace(1), span(2), None)
        .attribute("n", 1_i64)
        .at(at(7));
    let line = SpanEvent::log(trace(1), span(2), "INFO", "hello").at(at(8));
    put(
        &app.live,
        [started, child_started, waiting, outdated, line, child_ended],
    );
    let answer = normal(app.json(&format!("/traces/{TRACE}")).await, &app.live);
    assert_eq!(answer["cursor"], "EPOCH-6");
    let open = json!({
        "type": "started", "traceId": TRACE, "spanId": "0000000000000001", "parentSpanId": null, "name": "checkout",
        "kind": "SERVER", "process": "", "service": "shop", "scope": "", "attributes": {},
        "timestamp": "2026-01-01T00:00:00.000000000Z",
    });
    assert_eq!(answer["spans"], json!([open, child()]));
    let waiting = json!({
        "type": "updated", "traceId": TRACE, "spanId": "0000000000000001", "process": "", "state": "waiting",
        "timestamp": "2026-01-01T00:00:00.006000000Z",
    });
    assert_eq!(answer["updates"], json!([waiting]));
    let line = json!({
        "type": "log", "traceId": TRACE, "spanId": "0000000000000002", "process": "", "service": "", "severityNumber": 9,
        "severityText": "INFO",
        "body": "hello", "attributes": {}, "timestamp": "2026-01-01T00:00:00.008000000Z",
    });
    assert_eq!(answer["logs"], json!([line]));
    assert_eq!(answer["summary"]["state"], "waiting");
    assert_eq!(answer["summary"]["endTimestamp"], Value::Null);
    assert_eq!(answer["summary"]["durationMs"], Value::Null);
}

#[tokio::test]
async fn the_list_of_traces_is_answered_whole() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let expected = json!({"traces": [summary()], "next": null, "head": "EPOCH-4", "now": "NOW"});
    assert_eq!(normal(app.json("/traces").await, &app.live), expected);
}

#[tokio::test]
async fn the_status_is_answered_whole() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    put(&app.live, [SpanEvent::started(trace(2), span(1), "open")]);
    let mut stream = app.stream("/sse").await;
    let mut bytes = 0;
    while let Some(frame) = stream.next().await {
        if !frame.id.is_empty() {
            bytes += format!(
                "event: {}\nid: {}\ndata: {}\n\n",
                frame.event, frame.id, frame.data
            )
            .len();
            if frame.sequence() == 5 {
                break;
            }
        }
    }
    let mut status = normal(app.json("/status").await, &app.live);
    let uptime = status["uptimeSeconds"].take().as_f64().unwrap();
    assert!((0.0..60.0).contains(&uptime));
    let expected = json!({
        "server": "livespan/0.1.0", "protocol": 1, "epoch": "EPOCH", "oldest": "EPOCH-1", "head": "EPOCH-5",
        "retained": {"events": 5, "bytes": bytes, "traces": 2},
        "limits": {"events": 250_000, "bytes": 67_108_864, "ageSeconds": 86_400},
        "dropped": {"starts": 0, "ends": 0, "other": 0}, "openSpans": 1, "unpinned": 0, "keptTraces": 0, "subscribers": 1,
        "wrongCredentials": 0, "ownRequestSpans": 0, "store": {"kind": "memory", "healthy": true, "error": null}, "uptimeSeconds": null, "now": "NOW",
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn durations_are_answered_whole() {
    let app = App::start().await;
    for number in 1..=20 {
        put(&app.live, done(number, "query rows", 16));
    }
    let answer = app
        .json("/stats/durations?service=shop&name=query%20rows")
        .await;
    let (p50, p95) = (
        answer["p50"].as_f64().unwrap(),
        answer["p95"].as_f64().unwrap(),
    );
    assert!(
        (p50 - 16.0).abs() < 16.0 * 0.033 && (p95 - 16.0).abs() < 16.0 * 0.033,
        "{answer}"
    );
    let expected = json!({"service": "shop", "name": "query rows", "count": 20, "p50": p50, "p95": p95, "unit": "ms"});
    assert_eq!(answer, expected);
    let expected = json!({"service": "shop", "name": "never", "count": 0, "p50": null, "p95": null, "unit": "ms"});
    assert_eq!(
        app.json("/stats/durations?service=shop&name=never").await,
        expected
    );
}

async fn refused(app: &App, path: &str) -> (u16, String) {
    let response = app.get(path).await;
    assert_eq!(
        header(&response, "content-type"),
        "application/json",
        "{path}"
    );
    let status = response.status().as_u16();
    let error: Value = response.json().await.unwrap();
    let message = error["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{path}: {error}"))
        .to_owned();
    assert_eq!(error, json!({ "error": message }));
    (status, message)
}

const NO_TRACE_ID: &str = "a trace id is 32 hex digits, not all zero";
const NO_LIMIT: &str = "the parameter limit is not between 1 and 500";
const NO_KIND: &str =
    "the kind \"SIDEWAYS\" is not one of INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER";
const NO_TYPE: &str = "the type \"begun\" is not one of started, ended, updated, log, process, gap";

const REFUSED: &[(&str, &str)] = &[
    ("/traces/xyz", NO_TRACE_ID),
    ("/traces/00000000000000000000000000000000", NO_TRACE_ID),
    ("/traces/xyz/sse", NO_TRACE_ID),
    ("/traces/%30/sse?until=end", NO_TRACE_ID),
    ("/sse?traceId=1", NO_TRACE_ID),
    ("/sse?kind=SIDEWAYS", NO_KIND),
    (
        "/sse?status=MAYBE",
        "the status \"MAYBE\" is not one of OK, ERROR",
    ),
    ("/sse?type=begun", NO_TYPE),
    ("/traces?limit=0", NO_LIMIT),
    ("/traces?limit=501", NO_LIMIT),
    (
        "/traces?limit=many",
        "the parameter limit is not a number: \"many\"",
    ),
    ("/traces/sse?limit=501", NO_LIMIT),
    (
        "/traces?after=yesterday",
        "the parameter after is not a number: \"yesterday\"",
    ),
    ("/traces?q=%22open", "a quote is not closed, at character 1"),
    (
        "/traces?q=duration%3Efast",
        "\"fast\" is not a duration, such as 10ms, at character 1",
    ),
    ("/traces?linkedTo=1", NO_TRACE_ID),
    ("/traces?minDuration=-1", "the duration is out of range"),
    ("/traces?minDuration=NaN", "the duration is out of range"),
    (
        "/stats/durations?service=shop",
        "the parameters service and name are both needed",
    ),
];

#[tokio::test]
async fn bad_input_is_refused_with_a_reason() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    for (path, reason) in REFUSED {
        assert_eq!(
            refused(&app, path).await,
            (400, (*reason).to_owned()),
            "{path}"
        );
    }
    let many = vec![format!("traceId={TRACE}"); 33].join("&");
    for (path, reason) in [
        (
            format!("/sse?{many}"),
            "the parameter traceId appears more than 32 times",
        ),
        (
            format!("/traces/{TRACE}/sse?until=dawn"),
            "the parameter until is \"dawn\", not \"end\"",
        ),
        (
            format!("/traces/{TRACE}?format=xml"),
            "the format \"xml\" is not one of json, jsonl, otlp, html",
        ),
    ] {
        assert_eq!(
            refused(&app, &path).await,
            (400, reason.to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_routes_and_traces_are_not_found() {
    let app = App::start().await;
    let unknown = "000000000000000000000000000000ff";
    assert_eq!(
        refused(&app, &format!("/traces/{unknown}")).await,
        (404, format!("the trace {unknown} is not in the log"))
    );
    for path in [
        "/nothing",
        "/sse/",
        "/stats",
        "/traces/sse/sse/sse",
        "/assets/",
        "/assets/../main.rs",
        "/sse/x",
    ] {
        let answer = app
            .raw_answer(&format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 404 Not Found\r\n"),
            "{path}: {answer}"
        );
    }
    assert_eq!(
        refused(&app, "/nothing").await,
        (404, "no such route".to_owned())
    );
    assert_eq!(
        refused(&app, "/assets/nothing.js").await,
        (404, "no such asset".to_owned())
    );
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let app = App::start().await;
    for path in ["/", "/sse", "/traces", "/status", "/nothing"] {
        for method in [
            reqwest::Method::POST,
            reqwest::Method::PUT,
            reqwest::Method::DELETE,
            reqwest::Method::OPTIONS,
        ] {
            let response = app
                .client
                .request(method, app.url(path))
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 405, "{path}");
            assert_eq!(header(&response, "allow"), "GET, HEAD", "{path}");
            assert_eq!(
                response.text().await.unwrap(),
                "{\"error\":\"only GET and HEAD are answered\"}"
            );
        }
    }
}

#[tokio::test]
async fn a_long_query_is_refused() {
    let app = App::start().await;
    let longest = format!("/traces?x={}", "y".repeat(LiveSpans::QUERY_LENGTH_MAX - 2));
    assert_eq!(app.get(&longest).await.status(), 200);
    assert_eq!(
        refused(&app, &format!("{longest}y")).await,
        (414, "the query is longer than 8192 bytes".to_owned())
    );
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone_and_leaves_no_stream_behind() {
    let app = App::start().await;
    put(&app.live, checkout(1));
    let trace = format!("/traces/{TRACE}");
    let stream = format!("{trace}/sse");
    for path in [
        "/",
        script(),
        "/sse",
        "/traces",
        "/traces/sse",
        &trace,
        &stream,
        "/status",
        "/nothing",
    ] {
        let get = app.get(path).await;
        let head = app.client.head(app.url(path)).send().await.unwrap();
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(
            header(&head, "content-type"),
            header(&get, "content-type"),
            "{path}"
        );
        drop(get);
        assert_eq!(head.bytes().await.unwrap().len(), 0, "{path}");
    }
    super::app::until(|| app.live.status().subscribers == 0).await;
}

/// A browser resumes a stream after the last id that it received.
#[tokio::test]
async fn a_resume_point_is_read_from_the_header_then_the_query() {
    let live = log();
    put(&live, checkout(1));
    let epoch = live.target().head().epoch();
    live.shutdown().unwrap();
    let ids = async |path: &str, header: Option<&str>| -> Vec<u64> {
        let mut request = http::Request::builder()
            .uri(path)
            .header("host", "localhost");
        if let Some(id) = header {
            request = request.header("last-event-id", id);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(live.router(), request)
            .await
            .unwrap();
        let frames = super::app::Stream::of_body(response.into_body())
            .transcript("shutdown")
            .await;
        frames
            .iter()
            .filter(|frame| !frame.data.is_empty() && !frame.id.is_empty())
            .map(super::app::Frame::sequence)
            .collect()
    };
    assert_eq!(ids("/sse", None).await, [1, 2, 3, 4]);
    assert_eq!(ids("/sse", Some(&format!("{epoch}-2"))).await, [3, 4]);
    assert_eq!(ids(&format!("/sse?lastEventId={epoch}-3"), None).await, [4]);
    assert_eq!(
        ids(&format!("/sse?lastEventId={epoch}-3"), Some("1")).await,
        [2, 3, 4]
    );
    assert_eq!(ids("/sse?lastEventId=3&replay=none", None).await, [4]);
    assert_eq!(ids("/sse?replay=none", None).await, [0_u64; 0]);
    assert_eq!(ids("/sse?lastEventId=%00%ff", None).await, [1, 2, 3, 4]);
    assert_eq!(
        ids(&format!("/traces/{TRACE}/sse?lastEventId={epoch}-3"), None).await,
        [4]
    );
}

#[tokio::test]
async fn a_program_without_spans_serves_an_empty_list() {
    let live = log();
    let answer = ask(live.router(), "/traces").await;
    let answer = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        normal(answer, &live),
        json!({"traces": [], "next": null, "head": "EPOCH-0", "now": "NOW"})
    );
    let mut stream = open(&live, "/traces/sse").await;
    let expected = json!({
        "type": "traces", "snapshot": true, "traces": [], "removed": [], "head": "EPOCH-0", "now": "NOW",
    });
    assert_eq!(normal(stream.event("traces").await.json(), &live), expected);
}
