//! The outermost sampler: what another sampler would drop is recorded, so that it can be watched, but not exported.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::spans::preset;

/// Lets an app that exports 1 % of its traces still show all of them live: it turns the inner sampler's `Drop` into
/// `RecordOnly` and changes nothing else. Made by [`LiveSpans::sampler`](crate::LiveSpans::sampler).
///
/// The SDK's `BatchSpanProcessor` exports record-only spans too, so put it behind
/// [`wrapping`](crate::LiveSpanProcessor::wrapping) or [`SampledOnly`](crate::SampledOnly).
#[derive(Clone, Debug)]
pub struct LiveSampler<S> {
    inner: S,
}

impl<S> LiveSampler<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
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
        if let Some(decided) = preset::decided() {
            return decided;
        }
        let mut result =
            self.inner
                .should_sample(parent_context, trace_id, name, span_kind, attributes, links);
        if preset::is_asked() {
            return preset::answer(result);
        }
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}
