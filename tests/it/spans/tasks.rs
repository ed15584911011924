//! `TaskLayer`: the polls of `tracing` spans, and the cause of a blocked worker. Its reports go to
//! every log of a process, so this runs in a separate process: this test program again, with
//! `program` as its only test.

use std::{
    env,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use livespan::{
    LiveSpans,
    otel::{LiveTracerProvider, TaskLayer},
    sse::Subscribe,
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{RandomIdGenerator, SdkTracerProvider};
use serde_json::{Value as Json, json};
use tokio::{runtime, task::yield_now};
use tracing::{
    Dispatch, Instrument as _, dispatcher::with_default, info_span, instrument::WithSubscriber as _,
};
use tracing_subscriber::layer::SubscriberExt as _;

use super::live_provider::{payloads, read, transcript};
use crate::support::{PATIENCE, until};

const CHILD: &str = "LIVESPAN_TEST_TASKS";

/// A log whose spans come through `tracing`, with a `TaskLayer`.
struct Shown {
    live: LiveSpans,
    provider: LiveTracerProvider,
}

impl Shown {
    fn new() -> Self {
        let live = LiveSpans::builder().build().unwrap();
        let ids = RandomIdGenerator::default();
        let builder = SdkTracerProvider::builder().with_id_generator(ids);
        let provider = live.tracer_provider(builder);
        Self { live, provider }
    }

    fn dispatch(&self) -> Dispatch {
        let spans = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("test"));
        let registry = tracing_subscriber::registry().with(spans);
        Dispatch::new(registry.with(TaskLayer::new().unwrap()))
    }

    fn events(&self) -> Vec<Json> {
        self.live.target().flush(PATIENCE).unwrap();
        payloads(&read(&mut self.live.target().subscribe(Subscribe::all())))
    }

    /// Returns the reported `task` values of the span with this name, in order.
    fn tasks(&self, name: &str) -> Vec<Json> {
        let events = self.events();
        let is_start = |event: &&Json| event["type"] == "started" && event["name"] == name;
        let Some(start) = events.iter().find(is_start) else {
            return Vec::new();
        };
        let of_span = events
            .iter()
            .filter(|event| event["spanId"] == start["spanId"]);
        of_span
            .filter_map(|event| event.get("task").cloned())
            .collect()
    }

    fn last_task(&self, name: &str) -> Json {
        self.tasks(name).pop().unwrap_or_default()
    }

    /// Returns the texts of the layer's own reports.
    fn reports(&self) -> Vec<String> {
        let events = self.events();
        let own = events
            .iter()
            .filter(|event| event["target"] == "livespan::tasks");
        own.map(|event| event["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn one_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn workers(count: usize) -> runtime::Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(count)
        .thread_name("worker")
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "not a test: the next test starts it as a separate process"]
fn program() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    counts_polls_until_the_end();
    shows_a_blocked_worker_while_it_is();
    leaves_other_threads_and_short_spans_alone();
    reports_a_worker_that_blocks_outside_of_spans();
    reports_a_held_guard_once();
    reports_a_guard_held_while_all_tasks_wait();
    forgets_spans_whose_id_is_used_again();
}

#[test]
fn layer_shows_how_spans_are_polled() {
    let status = Command::new(env::current_exe().unwrap())
        .args(["spans::tasks::program", "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn counts_polls_until_the_end() {
    let shown = Shown::new();
    with_default(&shown.dispatch(), || {
        let work = async {
            for _ in 0..9 {
                yield_now().await;
            }
            until(|| shown.last_task("work")["polls"] == json!(9));
            yield_now().await;
        };
        one_thread().block_on(work.instrument(info_span!("work")));
    });
    let task = shown.last_task("work");
    let nanos = |key: &str| task[key].as_u64().unwrap();
    // Ten waits, the last poll, and the poll in which `tracing` drops the future.
    assert_eq!(
        (&task["polls"], &task["polling"]),
        (&json!(12), &json!(null))
    );
    assert!(nanos("longestPollNanos") <= nanos("busyNanos"), "{task}");
    assert!(nanos("busyNanos") > 0 && nanos("idleNanos") > 0, "{task}");
    assert_eq!(transcript(&shown.events()).last().unwrap(), "ended work");
}

fn shows_a_blocked_worker_while_it_is() {
    let shown = Shown::new();
    let runtime = workers(2);
    let (release, released) = mpsc::channel::<()>();
    let blocked = with_default(&shown.dispatch(), || {
        let span = info_span!("hog");
        runtime.spawn(
            async move {
                released.recv().unwrap();
            }
            .instrument(span)
            .with_current_subscriber(),
        )
    });
    until(|| !shown.last_task("hog")["polling"].is_null());
    let polling = shown.last_task("hog")["polling"].clone();
    assert_eq!(polling["thread"], json!("worker"));
    let started = shown.events()[1]["timestamp"].clone();
    assert!(polling["since"].as_str() >= started.as_str(), "{polling}");
    assert_eq!(shown.last_task("hog")["polls"], json!(0));
    release.send(()).unwrap();
    runtime.block_on(blocked).unwrap();
    until(|| shown.last_task("hog")["polling"].is_null());
    assert_eq!(shown.reports(), Vec::<String>::new());
}

fn leaves_other_threads_and_short_spans_alone() {
    let shown = Shown::new();
    let runtime = workers(1);
    let (release, released) = mpsc::channel::<()>();
    let dispatch = shown.dispatch();
    let waits = thread::spawn({
        let dispatch = dispatch.clone();
        move || {
            with_default(&dispatch, || {
                info_span!("file").in_scope(|| released.recv().unwrap());
            });
        }
    });
    let (release_blocking, blocking_released) = mpsc::channel::<()>();
    let blocking = with_default(&dispatch, || {
        let span = info_span!("hash");
        let dispatch = dispatch.clone();
        runtime.spawn_blocking(move || {
            with_default(&dispatch, || {
                span.in_scope(|| blocking_released.recv().unwrap());
            });
        })
    });
    with_default(&dispatch, || {
        // This span is reported long after any report on the others was due.
        let ticks = async {
            for _ in 0..4 {
                yield_now().await;
            }
            info_span!("short").in_scope(|| ());
            until(|| shown.last_task("ticks")["polls"] == json!(4));
            yield_now().await;
            until(|| shown.last_task("ticks")["polls"] == json!(5));
        };
        one_thread().block_on(ticks.instrument(info_span!("ticks")));
    });
    for name in ["file", "hash", "short"] {
        assert_eq!(shown.tasks(name), Vec::<Json>::new(), "{name}");
    }
    release.send(()).unwrap();
    release_blocking.send(()).unwrap();
    waits.join().unwrap();
    runtime.block_on(blocking).unwrap();
}

fn reports_a_worker_that_blocks_outside_of_spans() {
    let shown = Shown::new();
    let runtime = workers(2);
    let (release, released) = mpsc::channel::<()>();
    let dispatch = shown.dispatch();
    let blocked = runtime.spawn(async move {
        // The layer learns of a runtime from the first span inside it.
        with_default(&dispatch, || info_span!("before").in_scope(|| ()));
        released.recv().unwrap();
    });
    until(|| !shown.reports().is_empty());
    let expected = "1 of the workers of a tokio runtime did nothing but one poll for half a second, outside of any span";
    assert_eq!(shown.reports(), [expected]);
    release.send(()).unwrap();
    runtime.block_on(blocked).unwrap();
}

fn reports_a_held_guard_once() {
    let shown = Shown::new();
    let line = line!() + 3;
    let held = || async {
        for _ in 0..2 {
            let _guard = info_span!("held").entered();
            yield_now().await;
        }
    };
    let dispatch = shown.dispatch();
    with_default(&dispatch, || {
        one_thread().block_on(held().instrument(info_span!("around")));
    });
    until(|| !shown.reports().is_empty());
    drop(dispatch);
    assert_eq!(shown.reports(), [held_at(line)]);
    let report = shown
        .events()
        .into_iter()
        .find(|event| event["type"] == "log")
        .unwrap();
    assert_eq!(report["severityNumber"], json!(13));
    assert_eq!(report["traceId"], shown.events()[1]["traceId"]);
}

fn reports_a_guard_held_while_all_tasks_wait() {
    let shown = Shown::new();
    let line = line!() + 2;
    let held = async {
        let _guard = info_span!("held").entered();
        let waits = tokio::task::spawn_blocking({
            let same = Shown {
                live: shown.live.clone(),
                provider: shown.provider.clone(),
            };
            move || until(|| !same.reports().is_empty())
        });
        waits.await.unwrap();
    };
    with_default(&shown.dispatch(), || one_thread().block_on(held));
    assert_eq!(shown.reports(), [held_at(line)]);
}

fn held_at(line: u32) -> String {
    format!(
        "the guard of span `held` ({}:{line}) is held across an .await, so other tasks appear inside of it: \
         use .instrument(span)",
        file!()
    )
}

fn forgets_spans_whose_id_is_used_again() {
    let shown = Shown::new();
    with_default(&shown.dispatch(), || {
        for _ in 0..100 {
            info_span!("one").in_scope(|| ());
        }
        let last = async {
            for _ in 0..3 {
                yield_now().await;
            }
            until(|| shown.last_task("last")["polls"] == json!(3));
        };
        one_thread().block_on(last.instrument(info_span!("last")));
    });
    assert_eq!(shown.tasks("one"), Vec::<Json>::new());
}
