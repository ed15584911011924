//! Searches for texts that only the events of traces contain.

use livespan::{Access, Auth, LiveSpans, SpanEvent, span::SpanStatus};
use serde_json::{Value, json};

use super::app::{App, at, done, put, span, trace};
use crate::core::stores::{Shared, VecStore};

/// Stores three traces: a declined card, an order with its reason, and one that is still running.
fn put_orders(live: &LiveSpans) {
    let declined = SpanStatus::Error("card declined".to_owned());
    put(
        live,
        [
            SpanEvent::started(trace(1), span(1), "checkout")
                .service("shop")
                .attribute("uri", "/foo/1")
                .at(at(0)),
            SpanEvent::started(trace(1), span(2), "charge")
                .service("pay")
                .parent(span(1))
                .at(at(1)),
            SpanEvent::ended(trace(1), span(2), "charge", declined)
                .service("pay")
                .parent(span(1))
                .attribute("http.status_code", 402_i64)
                .started_at(at(1))
                .at(at(5)),
            SpanEvent::ended(trace(1), span(1), "checkout", SpanStatus::Ok)
                .service("shop")
                .attribute("uri", "/foo/1")
                .started_at(at(0))
                .at(at(6)),
        ],
    );
    put(live, done(2, "order", 5));
    put(
        live,
        [SpanEvent::log(trace(2), span(1), "INFO", "No CARD declined").at(at(2))],
    );
    put(
        live,
        [SpanEvent::started(trace(3), span(7), "checkout")
            .service("shop")
            .attribute("uri", "/bar")
            .at(at(9))],
    );
}

/// Returns the traces of a page by their numbers, each with its match.
fn found(page: &Value) -> Vec<(u64, Value)> {
    let traces = page["traces"].as_array().unwrap().iter();
    let found = traces.map(|one| {
        let id = one["traceId"].as_str().unwrap();
        (u64::from_str_radix(id, 16).unwrap(), one["match"].clone())
    });
    found.collect()
}

async fn expect_found(app: &App) {
    let matched = |span: u64, name: &str, field: &str, text: &str| json!({"spanId": format!("{span:016x}"), "name": name, "field": field, "text": text});
    let status = || matched(2, "charge", "status.message", "card declined");
    let body = || matched(1, "order", "log.body", "No CARD declined");
    let uri = || matched(1, "checkout", "attributes.uri", "/foo/1");
    let code = || matched(2, "charge", "attributes.http.status_code", "402");
    for (query, expected) in [
        ("%22card%20declined%22", vec![(2, body()), (1, status())]),
        ("uri:%2Ffoo", vec![(1, uri())]),
        ("-uri:%2Ffoo%20checkout", vec![(3, Value::Null)]),
        ("http.status_code%3E%3D400%20shop", vec![(1, code())]),
        ("card%20state:running", vec![]),
        (
            "uri:",
            vec![
                (3, matched(7, "checkout", "attributes.uri", "/bar")),
                (1, uri()),
            ],
        ),
        ("checkout", vec![(3, Value::Null), (1, Value::Null)]),
        ("nothing", vec![]),
    ] {
        let page = app.json(&format!("/traces?q={query}")).await;
        assert_eq!(found(&page), expected, "{query}");
        let keys = ["next", "stoppedEarly", "searchedInPart"].map(|key| page.get(key).cloned());
        assert_eq!(keys, [Some(Value::Null), None, None], "{query}");
    }
}

#[tokio::test]
async fn events_are_searched_in_memory() {
    let app = App::start().await;
    put_orders(&app.live);
    expect_found(&app).await;
    let page = app.json("/traces?q=uri:&limit=1").await;
    assert_eq!(found(&page).len(), 1);
    let next = page["next"].as_str().unwrap();
    let page = app
        .json(&format!("/traces?q=uri:&limit=1&after={next}"))
        .await;
    assert_eq!((found(&page)[0].0, &page["next"]), (1, &Value::Null));
}

#[tokio::test]
async fn events_are_searched_in_a_store_that_memory_does_not_hold() {
    let store = VecStore::new(10).share().0;
    let app = App::serve(LiveSpans::builder().store(store).build().unwrap()).await;
    put_orders(&app.live);
    put(
        &app.live,
        (100..150).flat_map(|number| done(number, "new", 1)),
    );
    expect_found(&app).await;
}

#[tokio::test]
async fn events_are_searched_after_a_restart() {
    let (store, kept) = VecStore::new(10).share();
    let live = LiveSpans::builder().store(store).build().unwrap();
    put_orders(&live);
    put(&live, (100..150).flat_map(|number| done(number, "new", 1)));
    // A running trace stays running. Only a shutdown would end it as lost.
    drop(live);
    let live = LiveSpans::builder().store(Shared(kept)).build().unwrap();
    expect_found(&App::serve(live).await).await;
}

#[tokio::test]
async fn a_reader_of_some_traces_finds_only_these() {
    let access = Access::traces([trace(2), trace(3)]);
    let live = LiveSpans::builder()
        .auth(Auth::check(move |_| access.clone()))
        .build()
        .unwrap();
    let app = App::serve(live).await;
    put_orders(&app.live);
    for (query, expected) in [
        ("%22card%20declined%22", vec![2]),
        ("uri:", vec![3]),
        ("uri:%2Ffoo", vec![]),
    ] {
        let page = app.json(&format!("/traces?q={query}")).await;
        let traces: Vec<u64> = found(&page).into_iter().map(|(number, _)| number).collect();
        assert_eq!(traces, expected, "{query}");
    }
}

#[tokio::test]
async fn routes_that_compare_summaries_refuse_terms_about_events() {
    let app = App::start().await;
    for query in ["uri:%2Ffoo", "scope:shop", "span:0000"] {
        assert_eq!(app.get(&format!("/running?q={query}")).await.status(), 400);
        let refused = app.get(&format!("/traces/sse?q={query}")).await;
        assert_eq!(refused.status(), 400);
        let reason = "only `GET /traces` is searched by attributes, scopes and spans";
        assert_eq!(
            refused.json::<Value>().await.unwrap(),
            json!({"error": reason})
        );
    }
}
