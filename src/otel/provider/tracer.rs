//! The wrapping tracer: it reads each span in place before the SDK builds it, and wraps what the SDK returns. It runs
//! on the host's threads; it never waits and never panics.

use std::{fmt, sync::Arc, time::SystemTime};

use opentelemetry::{
    Context, InstrumentationScope,
    trace::{Event, Span as _, SpanBuilder, SpanKind, TraceContextExt as _, TraceId, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::otel::{
    provider::{
        live_span::{LiveSpan, StartCounts},
        shared::ProviderShared,
        unrecorded::UnrecordedSpan,
    },
    span_override,
    start_handoff::{self, SpanIdentity, StartInput},
};

/// A tracer of a [`LiveTracerProvider`](crate::otel::LiveTracerProvider).
#[derive(Clone)]
pub struct LiveTracer {
    sdk: SdkTracer,
    scope: Arc<InstrumentationScope>,
    provider: Arc<ProviderShared>,
}

impl fmt::Debug for LiveTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTracer")
            .field("scope", &self.scope.name())
            .finish_non_exhaustive()
    }
}

/// Discards the span stored for the processor when the SDK's call returns, even after a panic of a sampler.
struct DiscardOnDrop {
    is_stored: bool,
}

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        if self.is_stored {
            start_handoff::discard();
        }
    }
}

impl LiveTracer {
    pub(super) fn new(
        sdk: SdkTracer,
        scope: InstrumentationScope,
        provider: Arc<ProviderShared>,
    ) -> Self {
        Self {
            sdk,
            scope: Arc::new(scope),
            provider,
        }
    }

    /// Stores the span for the processor. Returns whether it was stored.
    #[inline]
    fn hand_over(
        &self,
        builder: &SpanBuilder,
        is_wanted: bool,
        start: SystemTime,
        cx: &Context,
    ) -> bool {
        let identity = SpanIdentity::new(self.provider.shared.log_number, cx, TraceId::INVALID);
        let input = StartInput {
            is_wanted,
            scope: Some(&self.scope),
            start: Some(start.into()),
            name: &builder.name,
            kind: builder.span_kind.as_ref().unwrap_or(&SpanKind::Internal),
            attributes: builder.attributes.as_deref().unwrap_or_default(),
            links: builder.links.as_deref().unwrap_or_default(),
        };
        start_handoff::store(identity, &input)
    }

    /// Wraps a span that the sampler dropped, and pushes its start.
    #[cold]
    fn unrecorded(
        &self,
        span: &Span,
        start: SystemTime,
        spare: Option<SpanBuilder>,
        cx: &Context,
    ) -> Option<Box<UnrecordedSpan>> {
        let context = span.span_context();
        let parent = cx.span();
        let parent = Some(parent.span_context()).filter(|parent| parent.is_valid());
        let unrecorded = if let Some(builder) = spare {
            UnrecordedSpan::from_builder(context, parent, builder, start, &self.scope)
        } else {
            let log = self.provider.shared.log_number;
            let identity = SpanIdentity::new(log, cx, context.trace_id());
            start_handoff::take(identity, |handed| {
                UnrecordedSpan::from_handed(context, parent, handed, start, &self.scope)
            })??
        };
        unrecorded
            .show_start(&self.provider)
            .then(|| Box::new(unrecorded))
    }
}

impl LiveTracer {
    /// Builds a span whose changes are not shown.
    #[inline(never)]
    fn build_passing(&self, builder: SpanBuilder, cx: &Context) -> LiveSpan {
        LiveSpan {
            sdk: self.sdk.build_with_context(builder, cx),
            provider: Arc::clone(&self.provider),
            is_shown: false,
            counts: StartCounts::default(),
            inside: None,
            unrecorded: None,
        }
    }

    #[inline(never)]
    fn build_shown(&self, mut builder: SpanBuilder, cx: &Context) -> LiveSpan {
        let start = *builder
            .start_time
            .get_or_insert_with(opentelemetry::time::now);
        let attributes = builder.attributes.as_deref().unwrap_or_default();
        let wants = self.provider.shared.filter.wants_attributes(attributes);
        let counts = StartCounts {
            attributes: count(attributes),
            links: count(builder.links.as_deref().unwrap_or_default()),
        };
        let early_events: Option<Vec<Event>> = builder.events.clone();
        let is_stored =
            wants.is_some_and(|is_wanted| self.hand_over(&builder, is_wanted, start, cx));
        // The span is not stored if it is large, if a filter of the app must see it whole, or if a sampler starts it
        // within another start. The SDK then copies the span for the processor. But if the sampler drops the span, the
        // SDK keeps none of it, so the builder is copied here.
        let spare = (!is_stored).then(|| builder.clone());
        let mut discard = DiscardOnDrop { is_stored };
        // Built in place: the SDK writes its large span directly into the result. Each copy would cost sixty
        // instructions.
        let mut span = LiveSpan {
            sdk: self.sdk.build_with_context(builder, cx),
            provider: Arc::clone(&self.provider),
            is_shown: false,
            counts,
            inside: None,
            unrecorded: None,
        };
        if span.sdk.is_recording() {
            // The processor has taken the stored span.
            discard.is_stored = false;
            span.is_shown = wants.unwrap_or(true);
        } else if span.sdk.span_context().is_valid() {
            span.unrecorded = self.unrecorded(&span.sdk, start, spare, cx);
            span.is_shown = span.unrecorded.is_some();
        }
        // In the remaining case, an invalid context, the provider was shut down and the span stays hidden.
        if let Some(events) = early_events {
            for event in events {
                span.note_early_event(event);
            }
        }
        span
    }
}

impl Tracer for LiveTracer {
    type Span = LiveSpan;

    #[inline]
    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> LiveSpan {
        // Spans with an override are in the log already, or only probe the sampler.
        if span_override::is_set() || parent_cx.is_telemetry_suppressed() {
            self.build_passing(builder, parent_cx)
        } else {
            self.build_shown(builder, parent_cx)
        }
    }
}

fn count<T>(parts: &[T]) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX)
}
