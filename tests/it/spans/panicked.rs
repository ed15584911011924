//! Spans that a panic ends have the state "panicked", whatever status the program set before.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc,
    thread,
};

use livespan::LiveSpans;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _},
};
use serde_json::{Value as Json, json};
use tracing::{
    Instrument as _, dispatcher::with_default, info_span, instrument::WithSubscriber as _,
};

use super::{live_provider::Watched, through_tracing::dispatch};
use crate::support::block_on;

/// Returns the outcome of each span in the log, in the order of the ends.
pub(crate) fn endings(watched: &Watched) -> Vec<Json> {
    let mut events = watched.events();
    events.retain(|event| event["type"] == "ended");
    let ending = |event: &Json| {
        let mut ending = json!({"name": event["name"], "status": event["status"]});
        for key in ["panicked", "panic", "cancelled"] {
            if let Some(value) = event.get(key) {
                ending[key] = value.clone();
            }
        }
        ending
    };
    events.iter().map(ending).collect()
}

fn panicked(name: &str) -> Json {
    json!({"name": name, "status": {"code": "ERROR", "message": "panicked"}, "panicked": true})
}

fn ok(name: &str) -> Json {
    json!({"name": name, "status": {"code": "OK"}})
}

fn unwinding(run: impl FnOnce()) -> Box<dyn Any + Send> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_err()
}

/// Returns an attribute that makes a start too large for its data to be kept until the end.
fn large() -> KeyValue {
    KeyValue::new("large", "x".repeat(4096))
}

#[test]
fn every_span_on_the_stack_is_panicked_whatever_status_was_set_before() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    unwinding(|| {
        tracer.in_span("outer", |_| {
            tracer.in_span("inner", |cx| {
                cx.span().set_status(Status::Ok);
                panic!("out of luck");
            });
        });
    });
    unwinding(|| {
        let mut failed = tracer.start("failed");
        failed.set_status(Status::error("card declined"));
        let _large = tracer.build(SpanBuilder::from_name("large").with_attributes([large()]));
        panic!("out of luck");
    });
    tracer.in_span("after", |_| {});
    assert_eq!(
        endings(&watched),
        [
            panicked("inner"),
            panicked("outer"),
            panicked("large"),
            panicked("failed"),
            ok("after")
        ]
    );
}

#[test]
fn a_span_that_a_destructor_ends_during_unwinding_is_panicked() {
    /// A guard that ends a span, as in some libraries.
    struct Guard(opentelemetry_sdk::trace::Span);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set_status(Status::Ok);
            self.0.end();
        }
    }
    let watched = Watched::new();
    let tracer = watched.tracer();
    unwinding(|| {
        let _guard = Guard(tracer.start("guarded"));
        panic!("out of luck");
    });
    assert_eq!(endings(&watched), [panicked("guarded")]);
}

#[test]
fn a_panic_that_is_caught_inside_a_span_does_not_make_the_span_panicked() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    tracer.in_span("tries", |_| {
        unwinding(|| panic!("out of luck"));
    });
    tracer.in_span("tries again", |_| {
        unwinding(|| tracer.in_span("fails", |_| panic!("out of luck")));
    });
    assert_eq!(
        endings(&watched),
        [ok("tries"), panicked("fails"), ok("tries again")]
    );
}

#[test]
fn a_resumed_panic_ends_spans_as_panicked() {
    let watched = Watched::new();
    let tracer = watched.tracer();
    let payload = unwinding(|| panic!("out of luck"));
    unwinding(|| {
        tracer.in_span("resumes", |_| resume_unwind(payload));
    });
    assert_eq!(endings(&watched), [panicked("resumes")]);
}

#[test]
fn a_span_that_ends_while_another_thread_unwinds_is_not_panicked() {
    /// A guard that keeps unwinding until the other thread has ended its span.
    struct Hold(mpsc::Sender<()>, mpsc::Receiver<()>);
    impl Drop for Hold {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            self.1.recv().unwrap();
        }
    }
    let watched = Watched::new();
    let tracer = watched.tracer();
    let (unwinds, is_unwinding) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let unwound = thread::spawn(move || {
        let _hold = Hold(unwinds, has_ended);
        panic!("out of luck");
    });
    is_unwinding.recv().unwrap();
    tracer.in_span("elsewhere", |_| {});
    ended.send(()).unwrap();
    unwound.join().unwrap_err();
    assert_eq!(endings(&watched), [ok("elsewhere")]);
}

#[test]
fn a_task_that_panics_is_panicked_and_one_that_is_aborted_is_not() {
    let watched = Watched::new();
    let dispatch = dispatch(&watched);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let span = |name| with_default(&dispatch, || info_span!("task", otel.name = name));
    let inner = async {
        tokio::task::yield_now().await;
        panic!("out of luck");
    };
    let work = async { inner.instrument(info_span!("inner")).await };
    let panics = work.instrument(span("panics"));
    let panics = runtime.spawn(panics.with_subscriber(dispatch.clone()));
    assert!(block_on(panics).unwrap_err().is_panic());
    let aborted = std::future::pending::<()>().instrument(span("aborted"));
    let aborted = runtime.spawn(aborted.with_subscriber(dispatch.clone()));
    crate::support::until(|| watched.open_spans() == 1);
    aborted.abort();
    assert!(block_on(aborted).unwrap_err().is_cancelled());
    assert_eq!(
        endings(&watched),
        [panicked("inner"), panicked("panics"), ok("aborted")]
    );
}

#[test]
fn a_span_that_a_sampler_saw_is_panicked_too() {
    let live = LiveSpans::builder().build().unwrap();
    let provider = super::live_provider::provider_of(&live)
        .with_sampler(live.sampler(opentelemetry_sdk::trace::Sampler::AlwaysOff))
        .build();
    let watched = Watched { live, provider };
    let tracer = watched.tracer();
    unwinding(|| tracer.in_span("unsampled", |_| panic!("out of luck")));
    assert_eq!(endings(&watched), [panicked("unsampled")]);
}
