//! The changes inside spans that come through `tracing-opentelemetry` and the wrapping provider.
//! Each span appears once, its changes appear while it runs, and nothing appears twice, whichever
//! way the subscriber is built and wherever the span runs.

use std::thread;

use livespan::{
    LiveSpans,
    otel::{LiveTracer, LiveTracerProvider},
    sse::Subscribe,
};
use opentelemetry::trace::{Status, TracerProvider as _};
use serde_json::{Value as Json, json};
use tracing::{
    Dispatch, Instrument as _, Span, dispatcher::with_default, error, info, info_span, instrument,
    instrument::WithSubscriber as _, level_filters::LevelFilter,
};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{Registry, layer::SubscriberExt as _, reload};

use super::{
    inside::{as_ended, rebuilt},
    live_provider::{bare_provider, payloads, read},
};
use crate::support::{PATIENCE, block_on, until};

/// A log, and a provider that also reports the changes of open spans to it.
struct Shown {
    live: LiveSpans,
    provider: LiveTracerProvider,
}

impl Shown {
    fn new() -> Self {
        let live = LiveSpans::builder().build().unwrap();
        let provider = live.tracer_provider(bare_provider());
        Self { live, provider }
    }

    fn layer(&self) -> OpenTelemetryLayer<Registry, LiveTracer> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("test"))
    }

    fn dispatch(&self) -> Dispatch {
        Dispatch::new(tracing_subscriber::registry().with(self.layer()))
    }

    fn events(&self) -> Vec<Json> {
        self.live.target().flush(PATIENCE).unwrap();
        payloads(&read(&mut self.live.target().subscribe(Subscribe::all())))
    }

    /// Waits until an open span is reported with this value in this field.
    fn until_reported(&self, field: &str, key: &str, value: &Json) {
        until(|| {
            let spans = rebuilt(&self.events());
            spans.values().any(|span| span[field][key] == *value)
        });
    }

    /// Returns the names of the spans in the order of their starts. Asserts that each span has
    /// started and ended once, and that its start and updates together equal its end.
    fn names(&self) -> Vec<String> {
        // Another thread may close the last span.
        until(|| {
            self.live.target().flush(PATIENCE).unwrap();
            self.live.status().open == 0
        });
        let events = self.events();
        let of = |kind: &str| -> Vec<String> {
            let events = events.iter().filter(|event| event["type"] == json!(kind));
            events
                .map(|event| event["spanId"].as_str().unwrap().to_owned())
                .collect()
        };
        let started = of("started");
        let (mut once, mut ended) = (started.clone(), of("ended"));
        once.sort_unstable();
        ended.sort_unstable();
        assert_eq!(once, ended);
        once.dedup();
        assert_eq!(once.len(), started.len());
        let mut ends = as_ended(&events);
        for span in ends.values_mut() {
            // The layer sets these totals when it closes the span, so no update can report them.
            let attributes = span["attributes"].as_object_mut().unwrap();
            attributes.retain(|key, _| key != "busy_ns" && key != "idle_ns");
        }
        assert_eq!(rebuilt(&events), ends);
        let name = |id: &String| ends[id]["name"].as_str().unwrap().to_owned();
        started.iter().map(name).collect()
    }

    /// Returns the names of the events of all spans, from their ends.
    fn event_names(&self) -> Vec<String> {
        let ends = as_ended(&self.events());
        let events = ends.values().flat_map(|span| {
            let events = span["events"].as_array().unwrap().clone();
            events.into_iter()
        });
        events
            .map(|event| event["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Makes a span that changes in every way that `tracing` offers. It stays open.
fn work() -> Span {
    let span = info_span!(
        "work",
        early = 1,
        late = tracing::field::Empty,
        progress.current = tracing::field::Empty
    );
    span.in_scope(|| {
        info!(step = 1, "packed");
        Span::current().record("late", "now");
        for number in 0..500_u64 {
            Span::current().record("progress.current", number);
        }
    });
    span
}

#[test]
fn changes_of_a_span_are_shown_while_it_is_open() {
    let shown = Shown::new();
    with_default(&shown.dispatch(), || {
        let span = work();
        shown.until_reported("attributes", "late", &json!("now"));
        shown.until_reported("attributes", "progress.current", &json!("499"));
        span.set_attribute("more", 7);
        shown.until_reported("attributes", "more", &json!(7));
        span.set_status(Status::error("no card"));
        shown.until_reported("status", "code", &json!("ERROR"));
        span.in_scope(|| {
            span.add_event("by hand", vec![]);
            error!("declined");
        });
    });
    assert_eq!(shown.names(), ["work"]);
    assert_eq!(shown.event_names(), ["packed", "by hand", "declined"]);
}

#[test]
fn without_context_activation_each_span_is_shown_once() {
    let shown = Shown::new();
    let layer = shown.layer().with_context_activation(false);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    with_default(&dispatch, || {
        let span = work();
        span.in_scope(|| info_span!("inner").in_scope(|| info!("deep")));
        drop(span);
    });
    let mut names = shown.names();
    names.sort_unstable();
    assert_eq!(names, ["inner", "work"]);
    let mut event_names = shown.event_names();
    event_names.sort_unstable();
    assert_eq!(event_names, ["deep", "packed"]);
}

#[test]
fn through_a_reload_layer_each_span_is_shown_once() {
    let shown = Shown::new();
    let (layer, _handle) = reload::Layer::new(shown.layer());
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    with_default(&dispatch, || {
        let span = work();
        shown.until_reported("attributes", "late", &json!("now"));
        drop(span);
    });
    assert_eq!(shown.names(), ["work"]);
    assert_eq!(shown.event_names(), ["packed"]);
}

#[test]
fn spans_and_events_that_the_layers_filter_hides_change_no_other_span() {
    use tracing_subscriber::Layer as _;
    let shown = Shown::new();
    let layer = shown.layer().with_filter(LevelFilter::INFO);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    with_default(&dispatch, || {
        info_span!("outer").in_scope(|| {
            tracing::debug_span!("hidden", late = tracing::field::Empty).in_scope(|| {
                Span::current().record("late", 1);
                tracing::debug!("not said");
                info_span!("inner").in_scope(|| info!("said"));
            });
        });
    });
    assert_eq!(shown.names(), ["outer", "inner"]);
    assert_eq!(shown.event_names(), ["said"]);
    let events = shown.events();
    let of = |name: &str, field: &str| {
        let mut events = events.iter();
        events
            .find(|event| event["type"] == "started" && event["name"] == json!(name))
            .unwrap()[field]
            .clone()
    };
    assert_eq!(of("inner", "parentSpanId"), of("outer", "spanId"));
}

#[test]
fn two_subscribers_of_one_provider_have_spans_of_their_own() {
    let shown = Shown::new();
    for dispatch in [shown.dispatch(), shown.dispatch()] {
        with_default(&dispatch, || drop(work()));
    }
    // The subscribers are nested. A span belongs to the subscriber that is current where the span
    // is made.
    with_default(&shown.dispatch(), || {
        let outer = work();
        with_default(&shown.dispatch(), || drop(work()));
        drop(outer);
    });
    assert_eq!(shown.names(), ["work"; 4]);
    assert_eq!(shown.event_names(), ["packed"; 4]);
}

#[instrument]
fn counted(number: u64) -> u64 {
    info!("counting");
    if number == 0 {
        return 0;
    }
    1 + counted(number - 1)
}

#[instrument(name = "step", fields(result = tracing::field::Empty))]
async fn step(number: u64) -> u64 {
    tokio::task::yield_now().await;
    Span::current().record("result", number);
    info!("done");
    number
}

#[test]
fn recursive_functions_have_a_span_each_and_functions_that_never_run_have_none() {
    let shown = Shown::new();
    let sum = with_default(&shown.dispatch(), || {
        drop(step(1));
        counted(3)
    });
    assert_eq!(sum, 3);
    assert_eq!(shown.names(), ["counted"; 4]);
    assert_eq!(shown.event_names(), ["counting"; 4]);
}

#[test]
fn a_future_without_a_runtime_is_shown_once() {
    let shown = Shown::new();
    with_default(&shown.dispatch(), || {
        let both = async { step(1).await + step(2).await };
        assert_eq!(block_on(both.instrument(info_span!("all"))), 3);
    });
    assert_eq!(shown.names(), ["all", "step", "step"]);
    assert_eq!(shown.event_names(), ["done"; 2]);
}

/// Runs instrumented and uninstrumented tasks on a runtime.
fn tasks(shown: &Shown, runtime: &tokio::runtime::Runtime) {
    let dispatch = shown.dispatch();
    let tasks = async {
        let tasks: Vec<_> = (0..10)
            .map(|number| {
                let task = step(number);
                if number % 2 == 0 {
                    let task = task.instrument(info_span!("task"));
                    tokio::spawn(task.with_subscriber(dispatch.clone()))
                } else {
                    tokio::spawn(task.with_subscriber(dispatch.clone()))
                }
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    with_default(&dispatch, || {
        // There is no span around all tasks. A parent is closed by the subscriber of the thread
        // that drops its last child, so that subscriber would have to be global.
        runtime.block_on(tasks);
    });
    let mut names = shown.names();
    names.sort_unstable();
    let expected = [vec!["step"; 10], vec!["task"; 5]].concat();
    assert_eq!(names, expected);
    assert_eq!(shown.event_names(), ["done"; 10]);
}

#[test]
fn tasks_of_a_current_thread_runtime_are_shown_once() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    tasks(&Shown::new(), &{ runtime }.build().unwrap());
}

#[test]
fn tasks_of_a_multi_thread_runtime_are_shown_once() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    tasks(&Shown::new(), &runtime.worker_threads(4).build().unwrap());
}

#[test]
fn spans_that_change_on_other_threads_are_shown_once() {
    let shown = Shown::new();
    let dispatch = shown.dispatch();
    let span = with_default(&dispatch, work);
    thread::scope(|scope| {
        for number in 0..4 {
            let (span, dispatch) = (&span, &dispatch);
            scope.spawn(move || {
                with_default(dispatch, || {
                    for _ in 0..20 {
                        span.record("late", number);
                        span.in_scope(|| info!("said"));
                    }
                });
            });
        }
    });
    with_default(&dispatch, || drop(span));
    assert_eq!(shown.names(), ["work"]);
    let event_names = shown.event_names();
    assert_eq!(
        event_names.iter().filter(|name| *name == "said").count(),
        80
    );
    assert_eq!(event_names.len(), 81);
}
