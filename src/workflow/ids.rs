//! Derives the ids of workflow spans from names alone, so every run of an instance, in any process, gives its spans the
//! same ids. Pure, except for [`WorkflowIds`], which the SDK calls on the host's threads.

use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

use crate::{
    otel::span_override,
    span::event::{SpanId, TraceId},
};

/// Identifies a step among the steps of the same parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepKey {
    /// The step's name.
    Name(String),
    /// The number or name that the engine uses for the step.
    Own(String),
}

/// Returns the trace id of an instance.
///
/// The id is a hash even if the instance's id is a UUID. A UUID would fit into a trace id, but ratio samplers would
/// read bits of it that are not random: its version or variant.
pub(crate) fn trace(namespace: &str, instance: &str) -> TraceId {
    TraceId::of_hash(hash(&[b"trace", namespace.as_bytes(), instance.as_bytes()]))
}

/// Returns the id of a trace's root span.
pub(crate) fn root(trace: TraceId) -> SpanId {
    span(&[b"root", &trace.to_bytes()])
}

/// Returns the span id of a step. `ordinal` is the number of earlier steps with the same key and parent.
pub(crate) fn step(trace: TraceId, parent: SpanId, key: &StepKey, ordinal: u64) -> SpanId {
    let (kind, key) = match key {
        StepKey::Name(name) => (&b"name"[..], name),
        StepKey::Own(key) => (&b"key"[..], key),
    };
    span(&[
        b"step",
        &trace.to_bytes(),
        &parent.to_bytes(),
        kind,
        key.as_bytes(),
        &ordinal.to_be_bytes(),
    ])
}

fn span(parts: &[&[u8]]) -> SpanId {
    SpanId::of_hash(hash(parts))
}

/// Returns the first `N` bytes of a SHA-256. Each part is hashed after its length, so two different lists of parts
/// never hash the same bytes.
fn hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; N];
    for (byte, hashed) in bytes.iter_mut().zip(hasher.finalize()) {
        *byte = hashed;
    }
    bytes
}

/// An id generator that gives workflow spans their derived ids and all other spans the ids of an inner generator. A
/// provider passed to [`Workflows::exporting`](crate::workflow::Workflows::exporting) needs it.
///
/// ```
/// use livespan::workflow::WorkflowIds;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let provider = SdkTracerProvider::builder().with_id_generator(WorkflowIds::default()).build();
/// # drop(provider);
/// ```
#[derive(Clone, Debug)]
pub struct WorkflowIds<G = RandomIdGenerator> {
    inner: G,
}

impl Default for WorkflowIds {
    /// Wraps the SDK's own generator.
    fn default() -> Self {
        Self::new(RandomIdGenerator::default())
    }
}

impl<G: IdGenerator> WorkflowIds<G> {
    /// Wraps a generator.
    pub fn new(inner: G) -> Self {
        Self { inner }
    }
}

impl<G: IdGenerator> IdGenerator for WorkflowIds<G> {
    fn new_trace_id(&self) -> opentelemetry::TraceId {
        span_override::trace_id().unwrap_or_else(|| self.inner.new_trace_id())
    }

    fn new_span_id(&self) -> opentelemetry::SpanId {
        span_override::span_id().unwrap_or_else(|| self.inner.new_span_id())
    }
}
