//! A reader of some traces: no route and no control event contains data or ids of another trace.

use axum::body::Body;
use http::{Request, Response};
use livespan::{Access, Auth, LiveSpans, SpanEvent};
use opentelemetry::{
    Context,
    trace::{
        Link, Span as _, SpanContext, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::PATIENCE;

use super::app::{Frame, Stream, at, checkout, done, put, span, text, trace};

/// Texts that occur only in foreign traces.
const SECRETS: [&str; 4] = [
    "secret",
    "00000000000000000000000000000002",
    "00000000000000000000000000000003",
    "foreign-service",
];

/// Returns a log of three traces. A request has the access `reader`, or with the header `x-admin`
/// access to everything. The second and the third trace hold the secrets, and the third has a link
/// to the first.
fn shared_log(reader: Access) -> LiveSpans {
    let admin = Access::everything();
    let auth = Auth::check(move |request| {
        let is_admin = request.headers.contains_key("x-admin");
        if is_admin {
            admin.clone()
        } else {
            reader.clone()
        }
    });
    let live = LiveSpans::builder().auth(auth).build().unwrap();
    put(&live, done(2, "secret", 5));
    let foreign = process(&live, "foreign-service");
    work(&foreign, 3, &[1]);
    put(&live, checkout(1));
    put(&live, done(3, "secret", 7));
    live
}

fn of_the_first() -> LiveSpans {
    shared_log(Access::traces([trace(1)]))
}

async fn ask(live: &LiveSpans, path: &str) -> Response<Body> {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    live.router().oneshot(request).await.unwrap()
}

async fn transcript(live: &LiveSpans, path: &str) -> Vec<Frame> {
    let response = ask(live, path).await;
    assert_eq!(response.status(), 200, "{path}");
    Stream::of_body(response.into_body())
        .transcript("shutdown")
        .await
}

#[tokio::test]
async fn an_unrestricted_reader_finds_the_other_traces_by_their_marks() {
    let live = of_the_first();
    live.shutdown().unwrap();
    let request = Request::builder().uri("/sse").header("x-admin", "");
    let request = request.body(Body::empty()).unwrap();
    let shown = text(live.router().oneshot(request).await.unwrap()).await;
    for secret in SECRETS {
        assert!(shown.contains(secret), "{secret}: {shown}");
    }
}

fn expect_no_secrets(shown: &str) {
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn no_route_shows_or_names_another_trace() {
    let live = of_the_first();
    live.shutdown().unwrap();
    let own = trace(1);
    for path in [
        "/".to_owned(),
        "/sse".to_owned(),
        "/sse?type=started".to_owned(),
        "/sse?replay=none".to_owned(),
        "/traces".to_owned(),
        "/traces?limit=1".to_owned(),
        "/traces?q=-state:lost".to_owned(),
        "/traces?q=secret".to_owned(),
        "/traces?service=foreign-service".to_owned(),
        "/traces/sse".to_owned(),
        "/stats/durations?service=shop&name=checkout".to_owned(),
        "/operations".to_owned(),
        "/status".to_owned(),
        format!("/traces/{own}"),
        format!("/traces/{own}?format=jsonl"),
        format!("/traces/{own}?format=otlp"),
        format!("/traces/{own}/sse"),
        format!("/traces/{own}/sse?until=end"),
    ] {
        let shown = text(ask(&live, &path).await).await;
        assert!(!shown.is_empty(), "{path}");
        // A secret in the reader's own request does not come back either.
        expect_no_secrets(&shown);
    }
}

#[tokio::test]
async fn a_hidden_trace_and_a_missing_one_get_the_same_answer() {
    let live = of_the_first();
    live.shutdown().unwrap();
    for route in [
        "/traces/ID",
        "/traces/ID/sse",
        "/traces/ID/sse?until=end",
        "/traces/ID?format=otlp",
    ] {
        let answer = async |number: u128| {
            let id = trace(number).to_string();
            let response = ask(&live, &route.replace("ID", &id)).await;
            (response.status(), text(response).await.replace(&id, "ID"))
        };
        let (status, body) = answer(2).await;
        assert_eq!(status, 403, "{route}");
        assert_eq!(body, r#"{"error":"this reader may not read the trace ID"}"#);
        assert_eq!(answer(99).await, (status, body));
    }
    for route in ["/traces?traceId=ID", "/traces?linkedTo=ID"] {
        let answer = async |number: u128| {
            let mut page: Value = serde_json::from_str(
                &text(ask(&live, &route.replace("ID", &trace(number).to_string())).await).await,
            )
            .unwrap();
            page["now"] = "NOW".into();
            page
        };
        let foreign = answer(2).await;
        assert_eq!(
            (&foreign["traces"], &foreign["next"]),
            (&json!([]), &Value::Null),
            "{route}"
        );
        assert_eq!(answer(99).await, foreign, "{route}");
    }
    for number in [2, 99] {
        let frames = transcript(&live, &format!("/sse?traceId={}", trace(number))).await;
        assert_eq!(events(&frames), [] as [&str; 0]);
    }
}

fn events(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

#[tokio::test]
async fn a_readers_own_trace_lacks_only_links_to_other_traces() {
    let live = of_the_first();
    let own = process(&live, "billing");
    work(&own, 1, &[2, 1]);
    live.target().flush(PATIENCE).unwrap();
    live.shutdown().unwrap();
    for path in [
        "/sse".to_owned(),
        format!("/sse?traceId={}", trace(1)),
        format!("/traces/{}/sse", trace(1)),
    ] {
        let frames = transcript(&live, &path).await;
        let expected = [
            "started", "started", "ended", "ended", "process", "started", "ended",
        ];
        assert_eq!(events(&frames), expected, "{path}");
        let linked = frames[6].json();
        assert_eq!(linked["name"], "work");
        let links = linked["links"].as_array().unwrap();
        assert_eq!(links.len(), 1, "{links:?}");
        assert_eq!(links[0]["traceId"], trace(1).to_string());
    }
    let page: Value = serde_json::from_str(&text(ask(&live, "/traces").await).await).unwrap();
    assert_eq!(page["traces"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&page["traces"][0]["traceId"], &page["next"]),
        (&json!(trace(1).to_string()), &Value::Null)
    );
    let own_links = format!("/traces?linkedTo={}", trace(1));
    let page: Value = serde_json::from_str(&text(ask(&live, &own_links).await).await).unwrap();
    assert_eq!(
        page["traces"].as_array().unwrap().len(),
        1,
        "the search did not find exactly the reader's own trace"
    );
}

#[tokio::test]
async fn routes_that_reveal_the_whole_log_are_refused() {
    let live = of_the_first();
    for path in [
        "/status",
        "/stats/durations?service=shop&name=checkout",
        "/operations",
    ] {
        let response = ask(&live, path).await;
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(
            text(response).await,
            r#"{"error":"this route covers the whole log, and this reader may read only some traces"}"#
        );
    }
}

#[tokio::test]
async fn a_reader_of_no_trace_at_all_sees_none() {
    let live = shared_log(Access::traces([]));
    live.shutdown().unwrap();
    assert_eq!(events(&transcript(&live, "/sse").await), [] as [&str; 0]);
    let page: Value = serde_json::from_str(&text(ask(&live, "/traces").await).await).unwrap();
    assert_eq!(page["traces"], json!([]));
    assert_eq!(
        ask(&live, &format!("/traces/{}", trace(1))).await.status(),
        403
    );
}

#[tokio::test]
async fn the_live_list_neither_shows_nor_removes_other_traces() {
    let live = of_the_first();
    let response = ask(&live, "/traces/sse").await;
    let mut stream = Stream::of_body(response.into_body());
    let first = stream.event("traces").await;
    assert_eq!(first.json()["traces"].as_array().unwrap().len(), 1);
    put(&live, done(2, "secret", 9));
    put(
        &live,
        [SpanEvent::started(trace(1), span(3), "late").at(at(50))],
    );
    let next = stream.event("traces").await;
    expect_no_secrets(&format!("{}{}", first.data, next.data));
    assert_eq!(
        (
            &next.json()["traces"][0]["traceId"],
            &next.json()["removed"]
        ),
        (&json!(trace(1).to_string()), &json!([]))
    );
}

/// Adds another process to the log.
fn process(live: &LiveSpans, service: &'static str) -> SdkTracerProvider {
    let resource = opentelemetry_sdk::Resource::builder_empty()
        .with_service_name(service)
        .build();
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(live.span_processor())
        .build()
}

/// Makes a span in the trace `number`, with links to the traces `links`.
fn work(provider: &SdkTracerProvider, number: u128, links: &[u128]) {
    let remote = |number: u128| {
        let id = opentelemetry::trace::SpanId::from(7);
        let state = TraceState::default();
        SpanContext::new(number.into(), id, TraceFlags::SAMPLED, true, state)
    };
    let context = Context::new().with_remote_span_context(remote(number));
    let links = links
        .iter()
        .map(|number| Link::new(remote(*number), Vec::new(), 0));
    let tracer = provider.tracer("work");
    let builder = tracer.span_builder("work").with_links(links.collect());
    tracer.build_with_context(builder, &context).end();
}

#[tokio::test]
async fn only_processes_that_worked_on_the_trace_are_shown() {
    let live = shared_log(Access::traces([trace(1)]));
    let own = process(&live, "billing");
    work(&own, 1, &[]);
    let late = process(&live, "shipping");
    work(&late, 3, &[]);
    live.target().flush(PATIENCE).unwrap();
    let whole = text(ask(&live, &format!("/traces/{}", trace(1))).await).await;
    expect_no_secrets(&whole);
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let services = |processes: &Value| -> Vec<String> {
        let processes = processes.as_array().unwrap().iter();
        processes
            .map(|process| process["service"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(services(&whole["processes"]), ["billing"]);
    // The reader resumes after both `process` events. It gets each of them once more, before the
    // first visible event of that process.
    let cursor = whole["cursor"].as_str().unwrap().to_owned();
    work(&late, 1, &[2]);
    work(&late, 1, &[]);
    work(&own, 1, &[]);
    live.target().flush(PATIENCE).unwrap();
    live.shutdown().unwrap();
    for path in ["/sse".to_owned(), format!("/traces/{}/sse", trace(1))] {
        let frames = transcript(&live, &format!("{path}?lastEventId={cursor}")).await;
        let shown: String = frames.iter().map(|frame| &*frame.data).collect();
        expect_no_secrets(&shown);
        assert_eq!(
            events(&frames)[..7],
            [
                "process", "started", "ended", "started", "ended", "process", "started"
            ],
            "{path}"
        );
        let services: Vec<Value> = [0, 5]
            .map(|at: usize| frames[at].json()["service"].clone())
            .into();
        assert_eq!(services, ["shipping", "billing"], "{path}");
        // The `process` event is before the cursor, so its frame has no id: a client that remembered
        // the id would resume too early.
        assert_eq!(frames[0].id, "");
    }
}
