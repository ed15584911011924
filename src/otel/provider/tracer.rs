//! The wrapping tracer: it reads each span in place before the SDK builds it, and wraps what the SDK returns. It runs
//! on the host's threads; it never waits and never panics.

use std::{fmt, sync::Arc, time::SystemTime};

use opentelemetry::{
    Context, InstrumentationScope,
    trace::{Event, Span as _, SpanBuilder, SpanKind, TraceContextExt as _, TraceId, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::{
    otel::{
        provider::{
            live_span::{LiveSpan, StartCounts},
            shared::ProviderShared,
            unrecorded::UnrecordedSpan,
        },
        span_override,
        start_handoff::{self, SpanIdentity, StartInput},
    },
    span::record::WrittenScope,
};

/// A tracer of a [`LiveTracerProvider`](crate::otel::LiveTracerProvider).
#[derive(Clone)]
pub struct LiveTracer {
    sdk: SdkTracer,
    scope: Arc<InstrumentationScope>,
    written_scope: Arc<WrittenScope>,
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
            written_scope: Arc::new(WrittenScope::of(&scope)),
            scope: Arc::new(scope),
            provider,
        }
    }

    /// Stores the span for the processor. Returns whether the filter wants the span; `None` if it was not stored.
    #[inline]
    fn hand_over(&self, builder: &SpanBuilder, start: SystemTime, cx: &Context) -> Option<bool> {
        let identity = SpanIdentity::new(self.provider.shared.log_number, cx, TraceId::INVALID);
        let input = StartInput {
            scope: Some(&self.written_scope),
            start: Some(start.into()),
            name: &builder.name,
            kind: builder.span_kind.as_ref().unwrap_or(&SpanKind::Internal),
            attributes: builder.attributes.as_deref().unwrap_or_default(),
            links: builder.links.as_deref().unwrap_or_default(),
        };
        start_handoff::store(identity, &input)
    }

    /// Wraps a span that the sampler dropped, and pushes its start. Returns `None` if the filter refuses the span.
    #[cold]
    fn unrecorded(
        &self,
        span: &Span,
        start: SystemTime,
        spare: Option<Box<SpanBuilder>>,
        cx: &Context,
    ) -> Option<Box<UnrecordedSpan>> {
        let context = span.span_context();
        let parent = cx.span();
        let parent = Some(parent.span_context()).filter(|parent| parent.is_valid());
        let unrecorded = if let Some(builder) = spare {
            UnrecordedSpan::from_builder(context, parent, *builder, start, &self.scope)
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
        let beginning = self.begin(&mut builder, cx);
        let mut discard = DiscardOnDrop {
            is_stored: beginning.is_stored,
        };
        // The span is not stored if it is large, if a filter of the app must see it whole, or if a sampler starts it
        // within another start. The SDK then copies the span for the processor. But if the sampler drops the span, the
        // SDK keeps none of it, so the builder is copied here.
        let spare = (!beginning.is_stored).then(|| Box::new(builder.clone()));
        let sdk = self.sdk.build_with_context(builder, cx);
        let (is_shown, unrecorded) = if sdk.is_recording() {
            // The processor has taken the stored span.
            discard.is_stored = false;
            (beginning.is_wanted, None)
        } else if sdk.span_context().is_valid() {
            let unrecorded = self.unrecorded(&sdk, beginning.start, spare, cx);
            (unrecorded.is_some(), unrecorded)
        } else {
            // The provider was shut down.
            (false, None)
        };
        let shown = ShownParts {
            is_shown,
            counts: beginning.counts,
            unrecorded,
        };
        if let Some(events) = beginning.early_events {
            return self.wrap(sdk, shown).with_early_events(events);
        }
        // Returned without a local variable: a span in a variable would be copied once more.
        self.wrap(sdk, shown)
    }

    #[inline]
    fn wrap(&self, sdk: Span, shown: ShownParts) -> LiveSpan {
        LiveSpan {
            sdk,
            provider: Arc::clone(&self.provider),
            is_shown: shown.is_shown,
            counts: shown.counts,
            inside: None,
            unrecorded: shown.unrecorded,
        }
    }

    /// Reads a span that starts now, and stores it for the processor if the app has set no filter.
    #[inline(never)]
    fn begin(&self, builder: &mut SpanBuilder, cx: &Context) -> Beginning {
        let start = *builder
            .start_time
            .get_or_insert_with(opentelemetry::time::now);
        let filter = &self.provider.shared.filter;
        let stored = if filter.is_default() {
            self.hand_over(builder, start, cx)
        } else {
            None
        };
        let attributes = builder.attributes.as_deref().unwrap_or_default();
        Beginning {
            start,
            is_stored: stored.is_some(),
            is_wanted: stored
                .or_else(|| filter.wants_attributes(attributes))
                .unwrap_or(true),
            counts: StartCounts {
                attributes: count(attributes),
                links: count(builder.links.as_deref().unwrap_or_default()),
            },
            early_events: builder.events.clone(),
        }
    }
}

/// The fields of a span that depend on whether readers see it.
struct ShownParts {
    is_shown: bool,
    counts: StartCounts,
    unrecorded: Option<Box<UnrecordedSpan>>,
}

/// The fields of a span that are known before the SDK builds it.
struct Beginning {
    start: SystemTime,
    is_stored: bool,
    /// Whether the filter wants the span. True if it is a filter of the app, which decides later.
    is_wanted: bool,
    counts: StartCounts,
    /// The events of its builder. Few spans have any.
    early_events: Option<Vec<Event>>,
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
