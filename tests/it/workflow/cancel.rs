//! Instances that are cancelled while no process is running them.

use std::{
    future::{pending, ready},
    pin::pin,
};

use livespan::{
    Error, LiveSpans, NullEventStore, Retention,
    workflow::{Step, WorkflowIds, Workflows},
};
use opentelemetry::trace::{Status, TraceContextExt as _, Tracer as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor};
use serde_json::json;

use super::event_lines::{event, logged_lines, turn};
use crate::{
    spans::live_provider::{GatedStore, Watched, provider_of},
    support::{block_on, until},
};

const REASON: &str = "the customer changed their mind";

fn orders(live: &LiveSpans) -> Workflows {
    Workflows::new(live).namespace("orders")
}

/// Runs an order until its engine suspends it.
fn suspend(flows: &Workflows) {
    let wf = flows.instance("order-42");
    let mut run = pin!(wf.run("Order", async {
        wf.step(Step::new("charge").attribute("cents", 999), ready(()))
            .await;
        let approval = |wf: livespan::workflow::Workflow| async move {
            wf.wait("approval", pending::<()>()).await;
        };
        wf.scope("confirm", approval).await;
    }));
    assert!(turn(run.as_mut()).is_pending());
}

const SUSPENDED: [&str; 8] = [
    "started Order",
    "started charge",
    "ended charge",
    "started confirm",
    "started approval",
    "waiting approval",
    "waiting confirm",
    "waiting Order",
];
const CANCELLED: [&str; 3] = ["cancelled approval", "cancelled confirm", "cancelled Order"];

/// Without `Workflows::cancel`, an instance that its engine cancels without loading would be shown
/// as waiting for ever.
#[test]
fn a_suspended_instance_that_is_cancelled_is_over() {
    let watched = Watched::new();
    let flows = orders(&watched.live);
    suspend(&flows);
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 3);
    assert_eq!(
        logged_lines(&watched),
        [&SUSPENDED[..], &CANCELLED].concat()
    );
    assert_eq!(watched.open_spans(), 0);
    let events = watched.events();
    let started = event(&events, "started", "approval");
    let mut ended = event(&events, "ended", "approval");
    let timestamp = ended["timestamp"].take();
    assert!(timestamp.as_str() >= started["timestamp"].as_str());
    let mut expected = started.clone();
    expected["type"] = json!("ended");
    expected["startTimestamp"] = started["timestamp"].clone();
    expected["timestamp"] = json!(null);
    expected["status"] = json!({"code": "ERROR", "message": REASON});
    expected["cancelled"] = json!(true);
    assert_eq!(ended, expected);
}

#[test]
fn a_cancellation_is_reported_once_however_often_it_is_requested() {
    let watched = Watched::new();
    let flows = orders(&watched.live);
    suspend(&flows);
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 3);
    assert_eq!(block_on(flows.cancel("order-42", "again")).unwrap(), 0);
    suspend(&flows);
    assert_eq!(block_on(flows.cancel("order-43", REASON)).unwrap(), 0);
    assert_eq!(
        logged_lines(&watched),
        [&SUSPENDED[..], &CANCELLED].concat()
    );
}

#[test]
fn ordinary_spans_of_the_trace_are_left_alone() {
    let watched = Watched::new();
    let flows = orders(&watched.live);
    let tracer = watched.tracer();
    let wf = flows.instance("order-42");
    let inside = {
        let mut step = pin!(wf.step("charge", async {
            let query = opentelemetry::Context::current_with_span(tracer.start("query"));
            tokio::task::yield_now().await;
            pending::<()>().await;
            drop(query);
        }));
        assert!(turn(step.as_mut()).is_pending());
        block_on(flows.cancel("order-42", REASON)).unwrap()
    };
    assert_eq!(inside, 1);
    let expected = [
        "started charge",
        "started query",
        "cancelled charge",
        "ended query",
    ];
    assert_eq!(logged_lines(&watched), expected);
}

#[test]
fn other_exporters_get_cancelled_spans_with_their_true_start() {
    let live = LiveSpans::builder().build().unwrap();
    let exporter = InMemorySpanExporter::default();
    let provider = provider_of(&live)
        .with_id_generator(WorkflowIds::default())
        .with_span_processor(SimpleSpanProcessor::new(exporter.clone()))
        .build();
    let watched = Watched { live, provider };
    let flows = orders(&watched.live).exporting(&watched.provider);
    suspend(&flows);
    block_on(flows.cancel("order-42", REASON)).unwrap();
    let events = watched.events();
    let spans = exporter.get_finished_spans().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["charge", "approval", "confirm", "Order"]);
    for span in spans.iter().skip(1) {
        let started = event(&events, "started", &span.name);
        assert_eq!(started["spanId"], span.span_context.span_id().to_string());
        assert_eq!(started["traceId"], span.span_context.trace_id().to_string());
        let since = span.start_time.duration_since(std::time::UNIX_EPOCH);
        let nanos = since.unwrap().subsec_nanos();
        let timestamp = started["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with(&format!("{nanos:09}Z")), "{timestamp}");
        assert_eq!(span.status, Status::error(REASON));
        let attributes = span.attributes.iter();
        let attributes = attributes.map(|pair| (pair.key.to_string(), json!(pair.value.as_str())));
        let attributes: serde_json::Map<_, _> = attributes.collect();
        assert_eq!(json!(attributes), started["attributes"]);
    }
    assert_eq!(
        spans[1].parent_span_id,
        spans[2].span_context.span_id(),
        "the exported spans do not form one tree"
    );
}

#[test]
fn a_cancellation_that_the_store_refuses_is_an_error_and_can_be_repeated() {
    let (store, gate) = GatedStore::new(Retention::default());
    let watched = Watched::with(LiveSpans::builder().store(store));
    let flows = orders(&watched.live);
    suspend(&flows);
    watched.events();
    gate.before_append(|| Err(Error::store("append", std::io::Error::other("disk full"))));
    let failed = block_on(flows.cancel("order-42", REASON)).unwrap_err();
    assert!(failed.is_store(), "{failed}");
    gate.before_append(|| Ok(()));
    // The log retries its store without any call.
    until(|| watched.live.status().store.failure.is_none());
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 3);
    // Memory still has the ends that readers got in the outage. After the outage, a gap announces
    // that the store lacks them, and the spans are ended as lost. The second cancellation then ends
    // the spans again, and the store has only these ends.
    let mut lines = logged_lines(&watched);
    // The gap comes before or after the lost ends.
    lines[11..15].sort();
    let lost = ["gap ", "lost Order", "lost approval", "lost confirm"];
    assert_eq!(
        lines,
        [&SUSPENDED[..], &CANCELLED, &lost, &CANCELLED].concat()
    );
    watched.live.shutdown().unwrap();
    let failed = block_on(flows.cancel("order-42", REASON)).unwrap_err();
    assert!(failed.is_closed(), "{failed}");
}

#[test]
fn a_log_that_keeps_nothing_has_nothing_to_end() {
    let watched = Watched::with(LiveSpans::builder().store(NullEventStore::new()));
    let flows = orders(&watched.live);
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 0);
}

#[cfg(feature = "sqlite")]
#[test]
fn an_instance_of_a_process_that_is_gone_is_cancelled_from_its_file() {
    let folder = crate::stores::sqlite::log::Folder::new();
    let open = || Watched::with(LiveSpans::builder().store(folder.store()));
    {
        let watched = open();
        suspend(&orders(&watched.live));
        watched
            .live
            .target()
            .flush(crate::support::PATIENCE)
            .unwrap();
        watched.live.shutdown().unwrap();
    }
    let watched = open();
    let flows = orders(&watched.live);
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 3);
    assert_eq!(
        logged_lines(&watched),
        [&SUSPENDED[..], &CANCELLED].concat()
    );
}

#[cfg(feature = "redis")]
#[test]
fn an_instance_of_another_process_is_cancelled_here() {
    use futures_util::StreamExt as _;
    use livespan::sse::Subscribe;

    use super::event_lines::lines;
    use crate::spans::live_provider::payloads;

    let server = crate::stores::redis::server::Server::start();
    let open = || {
        let store = livespan::RedisEventStore::new(server.url()).unwrap();
        Watched::with(LiveSpans::builder().store(store))
    };
    let (one, two) = (open(), open());
    suspend(&orders(&one.live));
    one.live.target().flush(crate::support::PATIENCE).unwrap();
    let flows = orders(&two.live);
    assert_eq!(block_on(flows.cancel("order-42", REASON)).unwrap(), 3);
    // The other process may still run the instance.
    suspend(&orders(&one.live));
    one.live.target().flush(crate::support::PATIENCE).unwrap();
    let transcript = [&SUSPENDED[..], &CANCELLED].concat();
    for watched in [&one, &two] {
        let mut all = watched.live.target().subscribe(Subscribe::all());
        let mut messages = Vec::new();
        let read = block_on(async {
            loop {
                messages.push(all.next().await.unwrap());
                let read = lines(&payloads(&messages));
                if read.len() >= transcript.len() {
                    break read;
                }
            }
        });
        assert_eq!(read, transcript);
    }
}
