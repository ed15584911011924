//! A trace that a user has asked to keep. Retention spares it within bounds, and lists mark it.

use axum::body::Body;
use http::{Method, Request};
use livespan::{Access, Auth, LiveSpans, Retention, SpanEvent, TraceId, span::SpanStatus};
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use super::app::{App, at, done, log, put, span, text, trace};

fn keeping(events: usize) -> LiveSpans {
    let retention = Retention::default().events(events);
    LiveSpans::builder().retention(retention).build().unwrap()
}

async fn change(
    live: &LiveSpans,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, Json) {
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = live.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

async fn put_keep(live: &LiveSpans, trace: TraceId) -> (u16, Json) {
    change(live, Method::PUT, &format!("/traces/{trace}/keep"), &[]).await
}

async fn stop_keeping(live: &LiveSpans, trace: TraceId) -> (u16, Json) {
    change(live, Method::DELETE, &format!("/traces/{trace}/keep"), &[]).await
}

fn fill(live: &LiveSpans, numbers: std::ops::Range<u128>) {
    put(live, numbers.flat_map(|number| done(number, "other", 1)));
}

#[tokio::test]
async fn a_kept_trace_outlives_retention_and_goes_when_it_is_no_longer_kept() {
    let app = App::serve(keeping(80)).await;
    put(&app.live, done(1, "kept", 1));
    let id = trace(1).to_string();
    let mut list = app.stream("/traces/sse").await;
    let first = list.event("traces").await.json();
    assert_eq!(first["traces"][0].get("kept"), None);
    let answer = json!({"traceId": id, "kept": true});
    assert_eq!(put_keep(&app.live, trace(1)).await, (200, answer.clone()));
    // The list shows the change at once, although the trace has no new event.
    let update = list.event("traces").await.json();
    assert_eq!(update["traces"][0]["kept"], true);
    // A second time changes nothing.
    assert_eq!(put_keep(&app.live, trace(1)).await, (200, answer));

    fill(&app.live, 100..300);
    let whole = app.json(&format!("/traces/{id}")).await;
    assert_eq!(whole["summary"]["kept"], true);
    assert_eq!(whole["spans"].as_array().unwrap().len(), 1);
    assert_eq!(whole.get("evicted"), None);
    let listed = app.json(&format!("/traces?traceId={id}")).await;
    assert_eq!(listed["traces"][0]["kept"], true);
    let status = app.json("/status").await;
    assert_eq!(
        (&status["keptTraces"], &status["retained"]["events"]),
        (&json!(1), &json!(80))
    );

    let answer = json!({"traceId": id, "kept": false});
    assert_eq!(
        stop_keeping(&app.live, trace(1)).await,
        (200, answer.clone())
    );
    assert_eq!(stop_keeping(&app.live, trace(1)).await, (200, answer));
    // The trace now counts like any other ended one, so running traces displace it.
    put(
        &app.live,
        (2..25).map(|child| SpanEvent::started(trace(2), span(child), "job").at(at(child))),
    );
    fill(&app.live, 300..400);
    assert_eq!(app.get(&format!("/traces/{id}")).await.status(), 404);
    assert_eq!(app.json("/status").await["keptTraces"], 0);
}

#[tokio::test]
async fn kept_traces_are_bounded_in_number_and_size() {
    let live = keeping(8 * 40);
    put(&live, (1..=17).flat_map(|number| done(number, "one", 1)));
    for number in 1..=16 {
        live.keep(trace(number)).unwrap();
    }
    let error = json!({"error": "16 traces are kept already: stop keeping one of them first"});
    assert_eq!(put_keep(&live, trace(17)).await, (409, error));
    assert!(live.stop_keeping(trace(1)));
    live.keep(trace(17)).unwrap();
    assert!(live.stop_keeping(trace(17)));

    // 15 traces have 30 events; 40 kept events are allowed.
    let long =
        (1..=11).map(|child| SpanEvent::started(trace(50), span(child), "job").at(at(child)));
    put(&live, long);
    let error = json!({
        "error": "kept traces may use 1/8 of the retention, and with this trace they would use more"
    });
    assert_eq!(put_keep(&live, trace(50)).await, (507, error));
    assert_eq!(
        live.keep(trace(50)).unwrap_err().to_string(),
        "kept traces may use 1/8 of the retention, and with this trace they would use more"
    );
    assert_eq!(live.status().kept_streams, 15);
}

#[tokio::test]
async fn a_kept_trace_that_outgrows_the_share_is_no_longer_kept() {
    let app = App::serve(keeping(80)).await;
    put(&app.live, done(1, "small", 1));
    put(
        &app.live,
        [SpanEvent::started(trace(2), span(1), "job").at(at(0))],
    );
    for number in [1, 2] {
        app.live.keep(trace(number)).unwrap();
    }
    // 10 kept events are allowed. Trace 2 outgrows this, but retention still spares it, because it
    // is running.
    let children = (2..12).map(|child| {
        SpanEvent::ended(trace(2), span(child), "child", SpanStatus::Ok)
            .parent(span(1))
            .started_at(at(child))
            .at(at(child))
    });
    put(&app.live, children);
    fill(&app.live, 100..200);
    let list = async |number| {
        let listed = app
            .json(&format!("/traces?traceId={}", trace(number)))
            .await;
        let one = listed["traces"][0].clone();
        (
            one["kept"].clone(),
            one["spans"]["total"].clone(),
            one["evicted"].clone(),
        )
    };
    assert_eq!(list(1).await, (json!(true), json!(1), Json::Null));
    assert_eq!(list(2).await, (Json::Null, json!(11), Json::Null));
    assert_eq!(app.live.status().kept_streams, 1);
}

#[tokio::test]
async fn only_a_reader_of_everything_on_a_page_of_ours_keeps_a_trace() {
    let auth = Auth::check(|request| match request.headers.get("x-role") {
        Some(role) if role == "admin" => Access::everything(),
        Some(_) => Access::traces([trace(1)]),
        None => Access::nothing(),
    });
    let live = LiveSpans::builder()
        .auth(auth)
        .allowed_origins(["https://shop.example"])
        .build()
        .unwrap();
    put(&live, done(1, "checkout", 1));
    let path = format!("/traces/{}/keep", trace(1));
    let admin = ("x-role", "admin");
    let refused: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-role", "customer")],
        &[admin, ("sec-fetch-site", "cross-site")],
        &[admin, ("sec-fetch-site", "same-site")],
        &[
            admin,
            ("host", "ops.example"),
            ("origin", "https://evil.example"),
        ],
    ];
    for headers in refused {
        for method in [Method::PUT, Method::DELETE] {
            let (status, _) = change(&live, method, &path, headers).await;
            assert_eq!(status, 403, "{headers:?}");
        }
    }
    assert_eq!(live.status().kept_streams, 0);
    for headers in [&[admin][..], &[admin, ("sec-fetch-site", "same-origin")]] {
        let (status, _) = change(&live, Method::PUT, &path, headers).await;
        assert_eq!(status, 200, "{headers:?}");
    }
    assert_eq!(live.status().kept_streams, 1);
    // A page of an allowed origin may only read, so a browser never sends it this request.
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri(&path)
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "PUT")
        .body(Body::empty())
        .unwrap();
    let response = live.router().oneshot(preflight).await.unwrap();
    assert_eq!(
        response.headers()["access-control-allow-methods"],
        "GET, HEAD"
    );
}

#[tokio::test]
async fn a_trace_that_cannot_be_kept_is_an_error() {
    let live = log();
    let error = |text: &str| json!({ "error": text });
    let unknown = error("the log has no event of the trace");
    assert_eq!(put_keep(&live, trace(9)).await, (404, unknown));
    let (status, _) = change(&live, Method::PUT, "/traces/nonsense/keep", &[]).await;
    assert_eq!(status, 400);
    let (status, _) = change(
        &live,
        Method::POST,
        &format!("/traces/{}/keep", trace(9)),
        &[],
    )
    .await;
    assert_eq!(status, 405);
}
