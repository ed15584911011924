//! Dropping a future before it is ready cancels its span. It does not matter who drops the future,
//! and nothing else cancels a span.

use std::{
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt as _;
use livespan::{LiveFutureExt as _, LiveSpans};
use opentelemetry::{
    Context,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde_json::{Value as Json, json};
use tokio::task::{JoinSet, yield_now};
use tracing::{
    Dispatch, Instrument as _, Span, dispatcher::with_default, info_span,
    instrument::WithSubscriber as _,
};

use super::{live_provider::Watched, panicked::endings, through_tracing::dispatch};
use crate::support::{block_on, until};

fn cancelled(name: &str) -> Json {
    json!({"name": name, "status": {"code": "OK"}, "cancelled": true})
}

fn ok(name: &str) -> Json {
    json!({"name": name, "status": {"code": "OK"}})
}

fn panicked(name: &str) -> Json {
    json!({"name": name, "status": {"code": "ERROR", "message": "panicked"}, "panicked": true})
}

/// A log, and the subscriber that sends its spans there.
fn watched() -> (Watched, Dispatch) {
    let watched = Watched::with_random_ids();
    let dispatch = dispatch(&watched);
    (watched, dispatch)
}

fn span(name: &'static str) -> Span {
    info_span!("work", otel.name = name)
}

/// The context of a new span.
fn context(watched: &Watched, name: &'static str) -> Context {
    Context::new().with_span(watched.tracer().start(name))
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

#[test]
fn whoever_drops_a_future_that_is_not_ready_cancels_its_span() {
    let (watched, dispatch) = watched();
    with_default(&dispatch, || {
        block_on(async {
            tokio::select! {
                biased;
                () = pending::<()>().live(span("loses")) => {}
                () = yield_now().live(span("wins")) => {}
            }
            let late = pending::<()>().live(span("late"));
            tokio::time::timeout(Duration::from_millis(1), late)
                .await
                .unwrap_err();
            drop(pending::<()>().live(span("never polled")));
        });
    });
    assert_eq!(
        endings(&watched),
        [
            ok("wins"),
            cancelled("loses"),
            cancelled("late"),
            cancelled("never polled")
        ]
    );
}

#[test]
fn a_task_that_is_aborted_by_its_handle_or_its_set_is_cancelled() {
    let (watched, dispatch) = watched();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let work = |name| {
        let span = with_default(&dispatch, || span(name));
        pending::<()>().live(span).with_subscriber(dispatch.clone())
    };
    let task = runtime.spawn(work("aborted"));
    until(|| watched.open_spans() == 1);
    task.abort();
    assert!(block_on(task).unwrap_err().is_cancelled());
    let mut set = JoinSet::new();
    set.spawn_on(work("in a set"), runtime.handle());
    until(|| watched.open_spans() == 1);
    drop(set);
    until(|| watched.open_spans() == 0);
    let task = runtime.spawn(work("at shutdown"));
    until(|| watched.open_spans() == 1);
    drop(runtime);
    assert!(block_on(task).unwrap_err().is_cancelled());
    assert_eq!(
        endings(&watched),
        [
            cancelled("aborted"),
            cancelled("in a set"),
            cancelled("at shutdown")
        ]
    );
}

#[test]
fn a_cancelled_span_keeps_its_own_status() {
    let watched = Watched::with_random_ids();
    let cx = context(&watched, "gives up");
    cx.span().set_status(Status::error("no answer"));
    drop(pending::<()>().live(cx));
    let cx = context(&watched, "is fine");
    cx.span().set_status(Status::Ok);
    drop(pending::<()>().live(cx));
    assert_eq!(
        endings(&watched),
        [
            json!({"name": "gives up", "status": {"code": "ERROR", "message": "no answer"}, "cancelled": true}),
            json!({"name": "is fine", "status": {"code": "OK", "explicit": true}, "cancelled": true}),
        ]
    );
}

#[test]
fn spans_that_end_inside_the_drop_are_cancelled_and_those_done_before_are_not() {
    let (watched, dispatch) = watched();
    with_default(&dispatch, || {
        let work = async {
            ready(()).instrument(span("done")).await;
            let _held = span("held").entered();
            let waits = pending::<()>().instrument(span("waits"));
            let done = ready(()).live(span("done, too"));
            tokio::join!(done, waits);
        };
        let mut work = Box::pin(work.live(span("all")));
        assert!(poll_once(work.as_mut()).is_pending());
        drop(work);
        span("after").in_scope(|| {});
    });
    assert_eq!(
        endings(&watched),
        [
            ok("done"),
            ok("done, too"),
            cancelled("waits"),
            cancelled("held"),
            cancelled("all"),
            ok("after")
        ]
    );
}

#[test]
fn a_future_that_is_ready_ends_its_span_at_once_and_then_stays_pending() {
    let (watched, dispatch) = watched();
    with_default(&dispatch, || {
        let mut work = Box::pin(ready(7).live(span("ready")));
        assert_eq!(poll_once(work.as_mut()), Poll::Ready(7));
        assert_eq!(endings(&watched), [ok("ready")]);
        assert_eq!(poll_once(work.as_mut()), Poll::Pending);
    });
    assert_eq!(endings(&watched), [ok("ready")]);
}

#[test]
fn a_panic_is_a_panic_even_if_it_is_caught_before_the_drop() {
    let (watched, dispatch) = watched();
    let fails = || async {
        yield_now().await;
        panic!("out of luck")
    };
    with_default(&dispatch, || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            block_on(fails().instrument(span("inner")).live(span("unwound")))
        }));
        assert!(unwound.is_err());
        let caught = AssertUnwindSafe(fails().live(span("caught"))).catch_unwind();
        assert!(block_on(caught).is_err());
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let mut waits = Box::pin(pending::<()>().live(span("waits")));
            assert!(poll_once(waits.as_mut()).is_pending());
            panic!("out of luck");
        }));
        assert!(unwound.is_err());
    });
    let mut ends = endings(&watched);
    ends.sort_by_key(|end| end["name"].to_string());
    assert_eq!(ends, ["caught", "inner", "unwound", "waits"].map(panicked));
}

#[test]
fn a_destructor_that_panics_while_the_future_is_dropped_ends_it_as_panicked() {
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            panic!("out of luck");
        }
    }
    let watched = Watched::with_random_ids();
    let work = async {
        let _fails = Fails;
        pending::<()>().await;
    };
    let mut work = Box::pin(work.live(context(&watched, "fails")));
    assert!(poll_once(work.as_mut()).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(work))).is_err());
    drop(context(&watched, "after"));
    assert_eq!(endings(&watched), [panicked("fails"), ok("after")]);
}

#[test]
fn a_span_with_a_second_handle_is_cancelled_when_that_handle_is_dropped() {
    let (watched, dispatch) = watched();
    with_default(&dispatch, || {
        let kept = span("kept");
        let mut work = Box::pin(pending::<()>().live(kept.clone()));
        assert!(poll_once(work.as_mut()).is_pending());
        drop(work);
        span("other").in_scope(|| {});
        std::thread::spawn(move || drop(kept)).join().unwrap();
        // A second attempt in the same span succeeds.
        let retried = span("retried");
        let mut first = Box::pin(pending::<()>().live(retried.clone()));
        assert!(poll_once(first.as_mut()).is_pending());
        drop(first);
        assert!(poll_once(pin!(ready(()).live(retried))).is_ready());
    });
    let cx = context(&watched, "of a context");
    let mut work = Box::pin(pending::<()>().live(cx.clone()));
    assert!(poll_once(work.as_mut()).is_pending());
    drop(work);
    cx.span().end();
    assert_eq!(
        endings(&watched),
        [
            ok("other"),
            cancelled("kept"),
            ok("retried"),
            cancelled("of a context")
        ]
    );
}

#[test]
fn the_span_is_current_while_the_future_is_polled_and_dropped() {
    struct RecordSpanOnDrop<'a>(&'a std::cell::Cell<Option<opentelemetry::SpanId>>);
    impl Drop for RecordSpanOnDrop<'_> {
        fn drop(&mut self) {
            self.0
                .set(Some(Context::current().span().span_context().span_id()));
        }
    }
    let watched = Watched::with_random_ids();
    let cx = context(&watched, "work");
    let id = cx.span().span_context().span_id();
    let seen = std::cell::Cell::new(None);
    let work = async {
        let _record = RecordSpanOnDrop(&seen);
        assert_eq!(Context::current().span().span_context().span_id(), id);
        pending::<()>().await;
    };
    let mut work = Box::pin(work.live(cx));
    assert!(poll_once(work.as_mut()).is_pending());
    assert!(!Context::current().has_active_span());
    drop(work);
    assert_eq!(seen.get(), Some(id));
    assert_eq!(endings(&watched), [cancelled("work")]);
}

#[test]
fn futures_that_are_not_send_and_disabled_spans_are_accepted() {
    let watched = Watched::with_random_ids();
    let local = Rc::new(7);
    let work = async move { *local };
    assert_eq!(block_on(work.live(context(&watched, "local"))), 7);
    // Without a subscriber there is no span.
    let mut work = Box::pin(pending::<()>().live(span("of nobody")));
    assert!(poll_once(work.as_mut()).is_pending());
    drop(work);
    let mut work = Box::pin(pending::<()>().live(Context::new()));
    assert!(poll_once(work.as_mut()).is_pending());
    drop(work);
    let mut span = watched.tracer().start("after");
    span.end();
    assert_eq!(endings(&watched), [ok("local"), ok("after")]);
}

#[test]
fn all_futures_dropped_on_many_threads_are_cancelled() {
    let (watched, dispatch) = watched();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                with_default(dispatch, || {
                    for _ in 0..200 {
                        let mut work = Box::pin(pending::<()>().live(span("work")));
                        assert!(poll_once(work.as_mut()).is_pending());
                        drop(work);
                        ready(()).live(span("done")).now_or_never().unwrap();
                    }
                });
            });
        }
    });
    let ends = endings(&watched);
    for end in [cancelled("work"), ok("done")] {
        assert_eq!(ends.iter().filter(|one| **one == end).count(), 800, "{end}");
    }
}

#[test]
fn spans_of_the_wrapping_provider_end_as_others_do() {
    for sampler in [Sampler::AlwaysOn, Sampler::AlwaysOff] {
        let live = LiveSpans::builder().build().unwrap();
        let builder = SdkTracerProvider::builder().with_sampler(sampler);
        let wrapping = live.tracer_provider(builder);
        let tracer = wrapping.tracer("test");
        let provider = SdkTracerProvider::builder().build();
        let watched = Watched { live, provider };
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            tracer.in_span("panics", |_| panic!("out of luck"));
        }));
        assert!(unwound.is_err());
        let cx = Context::new().with_span(tracer.start("dropped"));
        drop(pending::<()>().live(cx));
        // The span's last handle is dropped after the future.
        let cx = Context::new().with_span(tracer.start("kept"));
        let mut work = Box::pin(pending::<()>().live(cx.clone()));
        assert!(poll_once(work.as_mut()).is_pending());
        drop(work);
        tracer.in_span("after", |_| {});
        drop(cx);
        assert_eq!(
            endings(&watched),
            [
                panicked("panics"),
                cancelled("dropped"),
                ok("after"),
                cancelled("kept")
            ]
        );
    }
}
