//! Streams that end while the log continues, as when an app is told to stop.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Instant,
};

use axum::{Router, routing::get};
use http::{HeaderMap, Uri};
use livespan::{Error, LiveSpans, View};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::timeout,
};

use super::app::{Frame, Stream, ask, client, done, log, open, put, text, trace};
use crate::{core::stores::VecStore, support::PATIENCE};

/// An app with the log's routes, its own stream of one trace, and a request that runs until the test ends it.
fn app(live: &LiveSpans, tracer: SdkTracer, work: watch::Receiver<bool>) -> Router {
    let slow = async move || {
        let mut span = tracer.start("slow");
        work.clone().wait_for(|done| *done).await.unwrap();
        span.end();
        "slow done"
    };
    let product = live.clone();
    let job = async move |headers: HeaderMap, uri: Uri| {
        product.respond(trace(1), &View::default(), &headers, &uri)
    };
    Router::new()
        .route("/slow", get(slow))
        .route("/job", get(job))
        .nest_service("/live", live.router())
}

/// Opens 80 streams of four kinds. Each client has read an event.
async fn clients(url: &str) -> Vec<Stream> {
    let mut clients = Vec::new();
    for (path, event) in [
        ("live/sse", "started"),
        ("live/sse?name=slow", "started"),
        ("job", "started"),
        ("live/traces/sse", "traces"),
    ]
    .iter()
    .cycle()
    .take(80)
    {
        let response = client().get(format!("{url}/{path}")).send().await.unwrap();
        let mut stream = Stream::of(response);
        stream.event(event).await;
        clients.push(stream);
    }
    clients
}

/// Returns the `retry` of a stream that ended together with other streams.
fn sent_away(frames: &[Frame]) -> u64 {
    let [.., retry, end] = frames else {
        panic!("{frames:?}")
    };
    assert_eq!(end.data, "{\"type\":\"end\",\"reason\":\"shutdown\"}");
    retry.retry.parse().unwrap()
}

/// The recipe for an app that mounts the routes: SIGTERM arrives while a request is running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_shuts_down_answers_requests_in_flight_and_loses_none_of_their_events() {
    let live = log();
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .with_simple_exporter(exporter.clone())
        .build();
    let (work_ends, work) = watch::channel(false);
    let (signal, terminated) = oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let streams = live.clone();
    let server = axum::serve(listener, app(&live, provider.tracer("test"), work))
        .with_graceful_shutdown(async move {
            terminated.await.unwrap();
            streams.end_streams();
        });
    let server = tokio::spawn(server.into_future());
    let answer = tokio::spawn(client().get(format!("{url}/slow")).send());
    put(&live, [done(1, "a job", 1)[0].clone()]);
    let clients = clients(&url).await;
    let before = live.target().head().sequence().get();

    signal.send(()).unwrap();
    let mut retries = Vec::new();
    for mut client in clients {
        retries.push(sent_away(&client.rest().await));
    }
    let least: u64 = (0..80).map(|place| 1000 + 5 * place).sum();
    assert!(retries.iter().sum::<u64>() >= least, "{retries:?}");
    assert!(!server.is_finished(), "the server ended before the request");

    work_ends.send_replace(true);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "slow done");
    let ended = timeout(PATIENCE, server).await.unwrap();
    ended.unwrap().unwrap();
    // The spans are read before the shutdown, which clears the exporter.
    let [span] = &exporter.get_finished_spans().unwrap()[..] else {
        panic!("not exactly one span was exported");
    };
    provider.shutdown().unwrap();
    live.shutdown().unwrap();
    assert_eq!(live.target().head().sequence().get(), before + 1);
    let path = format!("/traces/{}", span.span_context.trace_id());
    let shown: Value = serde_json::from_str(&text(ask(live.router(), &path).await).await).unwrap();
    assert_eq!(shown["summary"]["state"], "ok", "{shown}");
}

#[tokio::test]
async fn a_stream_that_begins_after_the_end_of_streams_ends_at_once() {
    let live = log();
    put(&live, done(1, "checkout", 1));
    live.end_streams();
    let own = format!("/traces/{}/sse", trace(1));
    for path in ["/sse", "/traces/sse", &own, "/workflows/a/b/sse"] {
        let frames = open(&live, path).await.rest().await;
        assert_eq!(frames.len(), 2, "{frames:?}");
        sent_away(&frames);
    }
    assert_eq!(ask(live.router(), "/traces").await.status(), 200);
    assert_eq!(live.status().subscribers, 0);
}

/// Published events are sent first, even to a client that still has many to read.
#[tokio::test]
async fn ended_streams_send_their_pending_events() {
    let live = log();
    for number in 1..=100 {
        put(&live, done(number, "before", 1));
    }
    let mut behind = open(&live, "/sse").await;
    behind.event("hello").await;
    live.end_streams();
    live.end_streams();
    // These are more events than fit into one piece, as in a busy log, where a reader never catches
    // up.
    let text = "x".repeat(16_000);
    let busy = (0..50).map(|_| {
        let [started, _] = done(101, "after", 1);
        started.attribute("text", text.clone())
    });
    put(&live, busy);
    let frames = behind.rest().await;
    sent_away(&frames);
    let names: Vec<String> = frames[..frames.len() - 2]
        .iter()
        .map(|frame| frame.json()["name"].as_str().unwrap().to_owned())
        .collect();
    assert!((200..250).contains(&names.len()), "{}", names.len());
    assert_eq!(names[..200], vec!["before"; 200]);
    assert_eq!(live.target().head().sequence().get(), 250);
}

/// Returns a log whose store has a mode: 0 works, 1 refuses, 2 hangs until the sender is dropped.
fn over_a_store() -> (LiveSpans, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let mode = Arc::new(AtomicUsize::new(0));
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let mut store = VecStore::new(1000);
    let switch = Arc::clone(&mode);
    store.on_append = Box::new(move || match switch.load(Ordering::SeqCst) {
        0 => Ok(()),
        1 => Err(Error::store("append", std::io::Error::other("it is full"))),
        _ => {
            let _released = released.lock().unwrap().recv();
            Ok(())
        }
    });
    let live = LiveSpans::builder().store(store.share().0);
    (live.build().unwrap(), mode, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_a_failing_store_and_clients_get_their_end() {
    let (live, store, release) = over_a_store();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let server = live.serve_in_background("127.0.0.1:0").unwrap();
    put(&live, [done(1, "a job", 1)[0].clone()]);
    let response = client().get(format!("{}sse", server.url())).send();
    let mut reader = Stream::of(response.await.unwrap());
    reader.event("started").await;
    store.store(1, Ordering::SeqCst);
    let open = provider.tracer("test").start("open");
    assert!(live.target().flush(PATIENCE).unwrap_err().is_store());
    store.store(2, Ordering::SeqCst);
    let begun = Instant::now();
    let ending = live.clone();
    let (exported, ended) = tokio::task::spawn_blocking(move || {
        let exported = provider.shutdown();
        (exported, ending.shutdown())
    })
    .await
    .unwrap();
    assert!(begun.elapsed() < LiveSpans::SHUTDOWN_TIMEOUT);
    assert_eq!(
        exported.unwrap_err().to_string(),
        "Operation failed: Shutdown errors: [InternalFailure(\"flush the event log: its store is failing, and this call does not wait for it\")]"
    );
    assert_eq!(
        ended.unwrap_err().to_string(),
        "shut down the event log: its store is failing, and this call does not wait for it"
    );
    sent_away(&reader.rest().await);
    drop((open, release));
}
