//! Makes the test's span the parent of spans and events that have none. Two layers surround the
//! log's layers: the first sets the context, the second resets it. They run on the threads of
//! tests.

use std::cell::RefCell;

use opentelemetry::{Context as TelemetryContext, ContextGuard, trace::TraceContextExt as _};
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::testing::active_test;

thread_local! {
    /// The contexts that the first layer has set and the second has not reset yet.
    static SET: RefCell<Vec<Option<ContextGuard>>> = const { RefCell::new(Vec::new()) };
}

/// The layer that sets the context.
#[derive(Debug)]
pub(super) struct SetTestContext;

/// The layer that resets the context.
#[derive(Debug)]
pub(super) struct ResetTestContext;

fn set(is_contextual: bool) {
    let is_alone =
        is_contextual && !TelemetryContext::map_current(TelemetryContext::has_active_span);
    if !is_alone {
        active_test::learn_runtime();
    }
    let test = if is_alone {
        active_test::of_this_thread()
    } else {
        None
    };
    let guard = test.map(|test| test.context.clone().attach());
    // A thread that is ending has no thread-locals any more, so it gets no context.
    SET.try_with(|set| set.borrow_mut().push(guard))
        .unwrap_or_default();
}

fn reset() {
    let guard = SET.try_with(|set| set.borrow_mut().pop());
    drop(guard);
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for SetTestContext {
    fn on_new_span(&self, attrs: &Attributes<'_>, _id: &Id, ctx: Context<'_, S>) {
        set(attrs.is_contextual() && ctx.lookup_current().is_none());
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        set(event.is_contextual() && ctx.lookup_current().is_none());
    }
}

impl<S: Subscriber> Layer<S> for ResetTestContext {
    fn on_new_span(&self, _attrs: &Attributes<'_>, _id: &Id, _ctx: Context<'_, S>) {
        reset();
    }

    fn on_event(&self, _event: &Event<'_>, _ctx: Context<'_, S>) {
        reset();
    }
}
