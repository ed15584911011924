//! Pages of the list over a durable store: each reads a bounded number of rows, and reports where it
//! stopped. For a reader of some traces, the positions of pages reveal nothing about other traces.

use std::{
    collections::HashSet,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::body::Body;
use http::Request;
use livespan::{Access, Auth, LiveSpans, SpanEvent, TraceId, span::SpanStatus};
use serde_json::Value;
use tower::ServiceExt as _;

use super::app::{Stream, done, put, sequence, span, text, trace};
use crate::core::stores::VecStore;

/// Upper bound on the events that the log keeps in memory.
const IN_MEMORY: usize = 100;

fn stored(store: VecStore) -> LiveSpans {
    LiveSpans::builder().store(store.share().0).build().unwrap()
}

async fn ask(live: &LiveSpans, path: &str) -> Body {
    let request = Request::builder().uri(path).header("host", "localhost");
    let request = request.body(Body::empty()).unwrap();
    let response = live.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.into_body()
}

async fn page(live: &LiveSpans, path: &str) -> Value {
    let body = ask(live, path).await;
    serde_json::from_str(&text(http::Response::new(body)).await).unwrap()
}

/// Returns all pages of a list.
async fn pages(live: &LiveSpans, query: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page = page(live, &format!("/traces?{query}{after}")).await;
        let next = page["next"].as_str().map(str::to_owned);
        pages.push(page);
        match next {
            Some(next) => after = format!("&after={next}"),
            None => return pages,
        }
    }
}

fn traces(pages: &[Value]) -> Vec<Vec<String>> {
    let ids = |page: &Value| {
        let traces = page["traces"].as_array().unwrap().iter();
        traces
            .map(|trace| trace["traceId"].as_str().unwrap().to_owned())
            .collect()
    };
    pages.iter().map(ids).collect()
}

fn ids(numbers: impl IntoIterator<Item = u128>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|number| trace(number).to_string())
        .collect()
}

/// Returns ended spans of a trace.
fn rows(number: u128, spans: RangeInclusive<u64>) -> impl Iterator<Item = SpanEvent> {
    spans.map(move |one| SpanEvent::ended(trace(number), span(one), "row", SpanStatus::Ok))
}

/// Returns a log in which a reader may read these traces. After each of them, 700 other traces
/// follow.
fn of_some(own: &[u128]) -> LiveSpans {
    let access = Access::traces(own.iter().copied().map(trace).collect::<Vec<TraceId>>());
    let live = LiveSpans::builder()
        .store(VecStore::new(IN_MEMORY).share().0)
        .auth(Auth::check(move |_| access.clone()))
        .build()
        .unwrap();
    let mut foreign = 1_000_000;
    for number in own {
        put(&live, done(*number, "own", 1));
        put(
            &live,
            (foreign..foreign + 700).flat_map(|number| done(number, "foreign", 1)),
        );
        foreign += 700;
    }
    live
}

#[tokio::test]
async fn pages_of_a_reader_of_some_traces_are_full_and_begin_at_its_own() {
    let own = [1, 2, 3, 4, 5];
    let live = of_some(&own);
    let all = pages(&live, "limit=10").await;
    assert_eq!(traces(&all), [ids([5, 4, 3, 2, 1])]);
    let firsts: HashSet<u64> = all[0]["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| sequence(trace["firstId"].as_str().unwrap()))
        .collect();
    for (query, expected) in [
        ("limit=2", vec![ids([5, 4]), ids([3, 2]), ids([1])]),
        ("limit=5", vec![ids([5, 4, 3, 2, 1])]),
        (
            "limit=1&q=own",
            ids([5, 4, 3, 2, 1])
                .into_iter()
                .map(|id| vec![id])
                .collect(),
        ),
        ("limit=2&q=nothing", vec![vec![]]),
        (
            "limit=1&traceId=00000000000000000000000000000002",
            vec![ids([2])],
        ),
        (
            "limit=1&traceId=000000000000000000000000000f4240",
            vec![vec![]],
        ),
    ] {
        let pages = pages(&live, query).await;
        assert_eq!(traces(&pages), expected, "{query}");
        for next in pages.iter().filter_map(|page| page["next"].as_str()) {
            // The page begins at one of the reader's own traces, or just after one.
            let next: u64 = next.parse().unwrap();
            assert!(
                firsts.contains(&next) || firsts.contains(&(next - 1)),
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn the_live_list_of_a_reader_of_some_traces_continues_at_its_own_traces() {
    let live = of_some(&[1, 2]);
    let mut stream = Stream::of_body(ask(&live, "/traces/sse").await);
    let snapshot = stream.event("traces").await.json();
    assert_eq!(
        traces(std::slice::from_ref(&snapshot)),
        [Vec::<String>::new()]
    );
    let next = snapshot["next"].as_str().unwrap();
    let page = page(&live, &format!("/traces?after={next}")).await;
    assert_eq!(traces(std::slice::from_ref(&page)), [ids([2, 1])]);
    let first = page["traces"][0]["firstId"].as_str().unwrap();
    assert_eq!(next, (sequence(first) + 1).to_string());
    // The search finds nothing, so there are no older results.
    let mut stream = Stream::of_body(ask(&live, "/traces/sse?q=nothing").await);
    assert_eq!(stream.event("traces").await.json().get("next"), None);
}

#[tokio::test]
async fn a_page_reads_a_bounded_number_of_rows_and_reports_where_it_stopped() {
    let mut store = VecStore::new(IN_MEMORY);
    let read = Arc::new(AtomicU64::new(0));
    store.on_page = Box::new({
        let read = Arc::clone(&read);
        move |page| {
            read.fetch_add(page.len() as u64, Ordering::SeqCst);
        }
    });
    let live = stored(store);
    for number in 1..=70 {
        put(&live, rows(number, 1..=1000));
    }
    // A search reads more rows per page, because it reads every event of every trace.
    for (query, pages_min, rows_max) in [
        ("name=nothing", 2, 52_000),
        ("q=nothing", 1, 202_000),
        ("q=attribute:nothing", 1, 202_000),
    ] {
        let mut found = 0;
        let mut after = String::new();
        let mut stopped = Vec::new();
        loop {
            read.store(0, Ordering::SeqCst);
            let page = page(&live, &format!("/traces?{query}{after}")).await;
            found += page["traces"].as_array().unwrap().len();
            assert!(read.load(Ordering::SeqCst) <= rows_max, "{query}");
            stopped.push(page["stoppedEarly"].as_bool());
            let Some(next) = page["next"].as_str() else {
                break;
            };
            after = format!("&after={next}");
        }
        assert_eq!(found, 0, "{query}");
        assert!(stopped.len() >= pages_min, "{query}: {stopped:?}");
        assert_eq!(stopped.pop(), Some(None), "{query}");
        assert!(stopped.iter().all(|stopped| *stopped == Some(true)));
    }
}

#[tokio::test]
async fn a_page_of_a_slow_store_stops_after_a_while_and_the_next_page_continues() {
    let mut store = VecStore::new(IN_MEMORY);
    let is_slow = Arc::new(AtomicU64::new(0));
    store.on_read = Box::new({
        let is_slow = Arc::clone(&is_slow);
        move || {
            if is_slow.load(Ordering::SeqCst) > 0 {
                // Simulates a slow disk.
                thread::park_timeout(Duration::from_millis(150));
            }
            Ok(())
        }
    });
    let live = stored(store);
    put(&live, (1..=8).flat_map(|number| done(number, "old", 1)));
    put(&live, (100..150).flat_map(|number| done(number, "new", 1)));
    is_slow.store(1, Ordering::SeqCst);
    let pages = pages(&live, "q=old").await;
    assert_eq!(traces(&pages).concat(), ids((1..=8).rev()));
    let (last, others) = pages.split_last().unwrap();
    assert_eq!(last.get("stoppedEarly"), None);
    assert!(!others.is_empty());
    assert!(others.iter().all(|page| page["stoppedEarly"] == true));
    // Each page makes progress, however slow the store is.
    assert!(traces(others).iter().all(|page| !page.is_empty()));
}

#[tokio::test]
async fn a_summary_of_a_part_of_a_trace_is_marked_as_partial() {
    let live = stored(VecStore::new(IN_MEMORY));
    let root = span(1_000_000);
    put(&live, [SpanEvent::started(trace(1), root, "row")]);
    // The end is in the part that the search did not read.
    let child = span(1_000_001);
    put(
        &live,
        [SpanEvent::started(trace(1), child, "row").parent(root)],
    );
    for chunk in 0..30 {
        put(&live, rows(1, chunk * 1000 + 1..=(chunk + 1) * 1000));
        if chunk == 21 {
            put(
                &live,
                [SpanEvent::ended(trace(1), child, "row", SpanStatus::Ok).parent(root)],
            );
        }
    }
    put(
        &live,
        [SpanEvent::ended(trace(1), root, "row", SpanStatus::Ok)],
    );
    put(&live, rows(2, 1..=1000));
    put(&live, (100..200).flat_map(|number| done(number, "new", 1)));
    let page = page(&live, "/traces?name=row").await;
    let partial: Vec<Option<&Value>> = page["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| trace.get("partial"))
        .collect();
    assert_eq!(
        partial,
        [None, Some(&serde_json::json!({"events": 25_000}))]
    );
    let large = &page["traces"][1];
    let spans = serde_json::json!({"total": 24_999, "open": 0, "errors": 0, "lost": 0});
    assert_eq!((&large["state"], &large["spans"]), (&"ok".into(), &spans));
}
