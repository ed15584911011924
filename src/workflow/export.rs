//! Exports workflow spans to the other processors of a provider. The SDK's span is created only after the step has
//! ended, because dropping an SDK span ends it. It runs in the host's tasks and never keeps an SDK span open.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::{
    Context, InstrumentationScope,
    trace::{
        Span as _, SpanBuilder, SpanContext, Status, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};

use crate::{
    otel::{
        shared::ProcessorShared,
        span_override::{self, ProbeResult, SpanIds},
    },
    span::event::TraceId,
    workflow::ids,
};

/// The instrumentation scope of workflow spans.
pub(crate) const SCOPE: &str = "livespan.workflow";
/// The status of the first span that got the wrong ids. No span is exported after it.
const NO_IDS: &str = "livespan: workflow spans are not exported, because the tracer provider does not have \
                      livespan::workflow::WorkflowIds as its id generator";

pub(crate) struct Exporter {
    tracer: SdkTracer,
    parts: Arc<ProcessorShared>,
    /// Whether a span got the wrong ids. Every further span would then be in a trace of its own, so none is exported.
    lacks_ids: AtomicBool,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    pub(crate) fn new(provider: &SdkTracerProvider, parts: &Arc<ProcessorShared>) -> Self {
        let scope = InstrumentationScope::builder(SCOPE).build();
        Self {
            tracer: provider.tracer_with_scope(scope),
            parts: Arc::clone(parts),
            lacks_ids: AtomicBool::new(false),
        }
    }

    /// Returns the sampler's decision about the trace. Only a [`LiveSampler`](crate::LiveSampler) can be asked. Without
    /// one, the trace counts as sampled.
    pub(crate) fn decide(&self, trace: TraceId) -> ProbeResult {
        let all = ProbeResult {
            is_sampled: true,
            ..ProbeResult::default()
        };
        if !self.parts.plug_ins.has_sampler.load(Ordering::Relaxed) {
            return all;
        }
        let root = ids::root(trace);
        let ids = SpanIds {
            trace_id: Some(opentelemetry::TraceId::from_bytes(trace.to_bytes())),
            span_id: opentelemetry::SpanId::from_bytes(root.to_bytes()),
        };
        let builder = SpanBuilder::from_name(NO_IDS);
        span_override::probe_sampler(ids, || {
            self.tracer.build_with_context(builder, &Context::new())
        })
        .unwrap_or(all)
    }

    /// Creates the SDK's span below its parent, with its workflow ids and its real start time, and ends it. Does
    /// nothing if the span is not sampled, or after a span got the wrong ids.
    pub(crate) fn export(&self, parent: Option<SpanContext>, data: SpanData) {
        if !data.span_context.is_sampled() || self.lacks_ids.load(Ordering::Relaxed) {
            return;
        }
        let wanted = data.span_context.clone();
        let is_root = parent.is_none();
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let ids = SpanIds {
            trace_id: is_root.then(|| wanted.trace_id()),
            span_id: wanted.span_id(),
        };
        let builder = SpanBuilder::from_name(data.name)
            .with_kind(data.span_kind)
            .with_start_time(data.start_time)
            .with_attributes(data.attributes)
            .with_events(data.events.events)
            .with_links(data.links.links);
        let state = wanted.trace_state().clone();
        span_override::with_span(ids, state, &self.parts.log_identity, || {
            let mut span = self.tracer.build_with_context(builder, &parent);
            let made = span.span_context();
            let is_right =
                made.span_id() == wanted.span_id() && made.trace_id() == wanted.trace_id();
            if !is_right && span.is_recording() {
                self.lacks_ids.store(true, Ordering::Relaxed);
                span.set_status(Status::error(NO_IDS));
            } else {
                span.set_status(data.status);
            }
            span.end_with_timestamp(data.end_time);
        });
    }
}
