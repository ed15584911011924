//! The engine's routes, called directly: responses, resume points, rewritten ids, and refusals.

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use livespan::{
    LiveSpans,
    local_workflow::{Engine, Instance, InstanceState, StepError},
};
use opentelemetry::trace::{Span as _, Tracer as _};
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use crate::{
    http::app::{Frame, Stream, log, provider},
    support::block_on,
};

/// A step, then a wait for an event. The workflow returns the event's payload.
fn order(live: &LiveSpans) -> Engine {
    Engine::builder(live).body_bytes_max(1000).build(
        "Order",
        |wf: Instance, input: Json| async move {
            wf.step("charge", || async { Ok::<_, String>(()) }).await?;
            let payload: Json = wf.wait_for_event("approval").await?;
            Ok::<_, StepError>(json!([input, payload]))
        },
    )
}

async fn send(router: &Router, request: http::request::Builder, body: &str) -> Response<Body> {
    let request = request
        .header("host", "localhost")
        .body(Body::from(body.to_owned()));
    router.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn post(router: &Router, path: &str, body: &str) -> Response<Body> {
    send(router, Request::post(path), body).await
}

/// Returns the status of a response, and its JSON if it has any.
async fn read(response: Response<Body>) -> (StatusCode, Json) {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn stream(router: &Router, request: http::request::Builder) -> Stream {
    let response = send(router, request, "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Stream::of_body(response.into_body())
}

/// Runs an instance to its end. Returns its id.
async fn run(engine: &Engine) -> String {
    let id = engine.create(()).unwrap();
    engine.send_event(&id, "approval", ()).unwrap();
    engine.finished(&id).await.unwrap();
    engine_flush(engine, &id).await;
    id
}

/// Waits until all events of an ended instance are visible.
async fn engine_flush(engine: &Engine, id: &str) {
    let router = engine.router();
    let request = Request::get(format!("/{id}/sse?until=end"));
    stream(&router, request).await.transcript("complete").await;
}

/// Returns the events of a resumed stream up to the `ended` of the root, as short lines.
async fn until_ended(mut stream: Stream, id: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let frame = stream.next().await.unwrap();
        match frame.event.as_str() {
            "gap" => lines.push(format!("gap {}", frame.json()["reason"].as_str().unwrap())),
            "started" | "ended" => {
                let json = frame.json();
                lines.push(format!(
                    "{} {}",
                    frame.event,
                    json["name"].as_str().unwrap()
                ));
                if frame.event == "ended" && json["spanId"] == id {
                    return lines;
                }
            }
            _ => {}
        }
    }
}

const WHOLE: [&str; 6] = [
    "started Order",
    "started charge",
    "ended charge",
    "started approval",
    "ended approval",
    "ended Order",
];

#[test]
fn an_instance_is_created_with_its_input_and_resumed_by_its_event() {
    block_on(async {
        let engine = order(&log());
        let router = engine.router();
        let created = post(&router, "/", r#"{"item":"pen"}"#).await;
        let location = created.headers()["location"].to_str().unwrap().to_owned();
        let (status, body) = read(created).await;
        let id = location.strip_prefix('/').unwrap();
        assert_eq!((status, body), (StatusCode::CREATED, json!({ "id": id })));
        let event = format!("{location}/event");
        let sent = r#"{"type":"approval","payload":{"by":"Ada"}}"#;
        let sent = read(post(&router, &event, sent).await).await;
        assert_eq!(sent, (StatusCode::NO_CONTENT, Json::Null));
        let state = engine.finished(id).await.unwrap();
        assert_eq!(
            state,
            InstanceState::Done(json!([{"item": "pen"}, {"by": "Ada"}]))
        );
    });
}

#[test]
fn the_location_of_an_instance_has_the_routers_prefix() {
    block_on(async {
        let router = Router::new().nest_service("/orders", order(&log()).router());
        for path in ["/orders", "/orders/"] {
            let created = post(&router, path, "").await;
            let location = created.headers()["location"].to_str().unwrap();
            assert_eq!(location.rsplit_once('/').unwrap().0, "/orders");
            let response = post(&router, &format!("{location}/event"), "").await;
            assert_eq!(response.status(), 204);
        }
    });
}

#[test]
fn the_logs_own_routes_may_stand_beside_the_engines() {
    block_on(async {
        let live = log();
        let engine = order(&live);
        let app = engine.router().nest_service("/live", live.router());
        let created = post(&app, "/", "").await;
        assert_eq!(created.status(), 201);
        for path in ["/live/sse", "/x/sse"] {
            let mut stream = stream(&app, Request::get(path)).await;
            assert_eq!(
                stream.event("hello").await.json()["type"],
                "hello",
                "{path}"
            );
        }
        let status = send(&app, Request::get("/live/status"), "").await;
        assert_eq!(read(status).await.1["store"]["kind"], "memory");
    });
}

#[test]
fn an_unknown_instance_has_no_state() {
    block_on(async {
        let live = log();
        let engine = order(&live);
        let router = engine.router();
        let answer = read(post(&router, "/guess/event", "").await).await;
        assert_eq!(
            answer,
            (StatusCode::NOT_FOUND, json!({"error": "no such instance"}))
        );
        let mut stream = stream(&router, Request::get("/guess/sse")).await;
        assert_eq!(stream.event("hello").await.json()["type"], "hello");
        assert_eq!(stream.event("ping").await.json()["known"], false);
        drop(stream);
        assert_eq!(engine.instances(), 0);
        let status = live.status();
        assert_eq!(
            (
                status.retained_streams,
                status.retained_events,
                status.subscribers
            ),
            (0, 0, 0)
        );
    });
}

#[test]
fn header_and_query_resume_after_the_event() {
    block_on(async {
        let engine = order(&log());
        let router = engine.router();
        let id = run(&engine).await;
        let path = format!("/{id}/sse");
        let mut whole = stream(&router, Request::get(&path)).await;
        let third = loop {
            let frame = whole.event("ended").await;
            if frame.json()["name"] == "charge" {
                break frame.id;
            }
        };
        let by_query = stream(&router, Request::get(format!("{path}?lastEventId={third}"))).await;
        let by_header = stream(&router, Request::get(&path).header("last-event-id", &third)).await;
        assert_eq!(until_ended(by_query, &id).await, WHOLE[3..]);
        assert_eq!(until_ended(by_header, &id).await, WHOLE[3..]);
    });
}

#[test]
fn an_unknown_resume_point_gives_a_gap_and_then_everything() {
    block_on(async {
        let engine = order(&log());
        let router = engine.router();
        let id = run(&engine).await;
        for unknown in ["abc", "999"] {
            let request = Request::get(format!("/{id}/sse")).header("last-event-id", unknown);
            let replayed = stream(&router, request).await;
            let expected = [&["gap epoch"], &WHOLE[..]].concat();
            assert_eq!(until_ended(replayed, &id).await, expected, "{unknown}");
        }
    });
}

#[test]
fn an_event_is_seen_while_its_step_still_runs() {
    block_on(async {
        let (seen, until_seen) = tokio::sync::watch::channel(false);
        let engine = Engine::builder(&log()).build("Order", move |wf: Instance, (): ()| {
            let until_seen = until_seen.clone();
            async move {
                let work = || {
                    let mut seen = until_seen.clone();
                    async move { seen.wait_for(|seen| *seen).await.map(|_| ()) }
                };
                wf.step("long", work).await
            }
        });
        let router = engine.router();
        let id = engine.create(()).unwrap();
        let mut stream = stream(&router, Request::get(format!("/{id}/sse"))).await;
        while stream.event("started").await.json()["name"] != "long" {}
        seen.send(true).unwrap();
        assert_eq!(
            engine.finished(&id).await,
            Ok(InstanceState::Done(Json::Null))
        );
    });
}

#[test]
fn every_event_of_the_trace_names_the_instance_and_the_log_keeps_hexadecimal_ids() {
    block_on(async {
        let live = log();
        let provider = provider(&live);
        let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
        let engine = Engine::builder(&live).build("Order", move |wf: Instance, (): ()| {
            let tracer = tracer.clone();
            async move {
                let work = || {
                    tracer.start("query").end();
                    async { Ok::<_, String>(()) }
                };
                wf.step("charge", work).await?;
                wf.wait_for_event::<()>("approval").await
            }
        });
        engine.create_with_id("order 1/ä", ()).unwrap();
        tokio::task::yield_now().await;
        engine.send_event("order 1/ä", "approval", ()).unwrap();
        engine.finished("order 1/ä").await.unwrap();
        let request = Request::get("/order%201%2F%C3%A4/sse?until=end");
        let frames = stream(&engine.router(), request)
            .await
            .transcript("complete")
            .await;
        let ours = |frame: &&Frame| frame.json()["traceId"].is_string();
        let ids = |frame: &Frame| {
            let json = frame.json();
            let of_root = |key: &str| json[key] == "order 1/ä";
            (
                frame.event.clone(),
                of_root("traceId"),
                of_root("spanId"),
                of_root("parentSpanId"),
            )
        };
        let seen: Vec<_> = frames.iter().filter(ours).map(ids).collect();
        let expected = [
            ("started", true, true, false),
            ("started", true, false, true),
            ("started", true, false, false),
            ("ended", true, false, false),
            ("ended", true, false, true),
            ("started", true, false, true),
            ("updated", true, false, false),
            ("ended", true, false, true),
            ("ended", true, true, false),
        ];
        let expected =
            expected.map(|(event, trace, root, parent)| (event.to_owned(), trace, root, parent));
        assert_eq!(seen, expected);
        let trace = engine.trace_id("order 1/ä");
        let request = Request::get(format!("/traces/{trace}/sse?until=end"));
        let stored = stream(&live.router(), request)
            .await
            .transcript("complete")
            .await;
        let stored: Vec<_> = stored
            .iter()
            .filter(ours)
            .map(|frame| frame.json()["traceId"].clone())
            .collect();
        assert_eq!(stored, vec![json!(trace.to_string()); 9]);
    });
}

#[test]
fn refusals_name_their_reason() {
    block_on(async {
        let engine = order(&log());
        let router = engine.router();
        let refused = |message: &str| json!({ "error": message });
        let too_large = read(post(&router, "/", &"1".repeat(1001)).await).await;
        let message = "the body is unreadable or longer than 1000 bytes";
        assert_eq!(too_large, (StatusCode::PAYLOAD_TOO_LARGE, refused(message)));
        let no_json = read(post(&router, "/", "pen").await).await;
        let message = "the body is not the expected JSON: expected value at line 1 column 1";
        assert_eq!(no_json, (StatusCode::BAD_REQUEST, refused(message)));
        let get = send(&router, Request::get("/"), "").await;
        assert_eq!(get.headers()["allow"], "POST");
        assert_eq!(
            read(get).await,
            (
                StatusCode::METHOD_NOT_ALLOWED,
                refused("only POST is allowed")
            )
        );
        let posted = post(&router, "/x/sse", "").await;
        assert_eq!(posted.headers()["allow"], "GET");
        assert_eq!(
            read(posted).await,
            (
                StatusCode::METHOD_NOT_ALLOWED,
                refused("only GET is allowed")
            )
        );
        let id = engine.create(()).unwrap();
        for _ in 0..Engine::INBOX_EVENTS_MAX {
            engine.send_event(&id, "nobody's", ()).unwrap();
        }
        let event = format!("/{id}/event");
        let message = "too many running instances or waiting events: try again later";
        assert_eq!(
            read(post(&router, &event, "").await).await,
            (StatusCode::TOO_MANY_REQUESTS, refused(message))
        );
        engine.cancel(&id, "enough").unwrap();
        engine.finished(&id).await.unwrap();
        let over = read(post(&router, &event, "").await).await;
        assert_eq!(
            over,
            (StatusCode::CONFLICT, refused("the instance has ended"))
        );
    });
}

#[test]
fn pages_of_other_sites_and_foreign_hosts_start_and_resume_nothing() {
    block_on(async {
        let engine = order(&log());
        let router = engine.router();
        engine.create_with_id("a", ()).unwrap();
        for path in ["/", "/a/event"] {
            let request = Request::post(path).header("sec-fetch-site", "cross-site");
            assert_eq!(send(&router, request, "").await.status(), 403, "{path}");
            let foreign = Request::post(path).header("host", "evil.example");
            let foreign = router.clone().oneshot(foreign.body(Body::empty()).unwrap());
            assert_eq!(foreign.await.unwrap().status(), 403, "{path}");
        }
        let foreign = Request::get("/a/sse").header("host", "evil.example");
        let foreign = router.clone().oneshot(foreign.body(Body::empty()).unwrap());
        assert_eq!(foreign.await.unwrap().status(), 403);
        assert_eq!(
            (engine.instances(), engine.state("a")),
            (1, Ok(InstanceState::Running))
        );
    });
}
