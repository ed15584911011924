//! The outermost sampler: spans that the inner sampler would drop are recorded, so that they can be shown. It does not
//! make them sampled. It also reads most spans in place before they start, so that the SDK need not copy them for the
//! processor. It runs on the host's threads, inside the SDK's calls: it must never block or make a span.

use std::{fmt, sync::Arc};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::otel::{
    shared::ProcessorShared,
    span_override,
    start_handoff::{self, SpanIdentity, StartInput},
};

/// Lets an app that exports 1 % of its traces still show all of them live. It turns the inner sampler's `Drop` into
/// `RecordOnly`, and changes no other decision. [`LiveSpans::sampler`](crate::LiveSpans::sampler) creates it.
///
/// It must be the provider's own, outermost sampler. It also makes a span's start cheaper by more than half: a sampler
/// reads the span in place, while the SDK copies it for a processor. A sampler does not see all fields. So `started`
/// has no `scope`, its `timestamp` is the time of the sampler's call, and its attributes are those before the
/// provider's limits are applied. `ended` has the exact values. A [`filter`](crate::LiveSpansBuilder::filter) of your
/// own may need the scope. So with such a filter, the SDK copies each span for the start, as without this sampler.
///
/// The SDK's `BatchSpanProcessor` exports record-only spans too, so put it behind
/// [`wrapping`](crate::LiveSpanProcessor::wrapping) or [`SampledOnly`](crate::SampledOnly).
///
/// The guide: [exporters and sampling](crate::_guide::exporters_and_sampling).
#[derive(Clone)]
pub struct LiveSampler<S> {
    inner: S,
    shared: Arc<ProcessorShared>,
}

impl<S: fmt::Debug> fmt::Debug for LiveSampler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSampler")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S> LiveSampler<S> {
    pub(crate) fn new(inner: S, shared: Arc<ProcessorShared>) -> Self {
        Self { inner, shared }
    }
}

impl<S: ShouldSample + Clone + 'static> ShouldSample for LiveSampler<S> {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if let Some(forced) = span_override::forced_sampling() {
            return forced;
        }
        let mut result =
            self.inner
                .should_sample(parent_context, trace_id, name, span_kind, attributes, links);
        if span_override::is_probe() {
            span_override::answer_probe(&mut result);
            return result;
        }
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        // If the inner sampler adds attributes, the span is not stored: a sampler around this one could change them.
        if result.attributes.is_empty()
            && self.shared.filter.is_default()
            && let Some(parent) = parent_context
        {
            let identity = SpanIdentity::new(self.shared.log_number, parent, trace_id);
            let input = StartInput {
                scope: None,
                start: None,
                name,
                kind: span_kind,
                attributes,
                links,
            };
            // The decision of the filter is stored with the span.
            let _is_wanted = start_handoff::store(identity, &input);
        }
        result
    }
}
