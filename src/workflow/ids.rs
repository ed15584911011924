//! The ids of a workflow's spans, which follow from names alone: whoever runs the instance again, in whichever process,
//! gives its spans the same ids. Pure, but for the generator, which runs on the host's threads.

use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

use crate::{
    otel::span_override,
    span::event::{SpanId, TraceId},
};

/// Names one step among those of the same parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepKey {
    /// By its name.
    Name(String),
    /// By the engine's own number or name of it.
    Own(String),
}

/// Returns the trace of an instance.
///
/// It is hashed, not the instance's own bits, though these may be a UUID: samplers by ratio look at bits that are the
/// same in every UUID.
pub(crate) fn trace(namespace: &str, instance: &str) -> TraceId {
    TraceId::of_hash(hash(&[b"trace", namespace.as_bytes(), instance.as_bytes()]))
}

/// Returns the root span of a trace.
pub(crate) fn root(trace: TraceId) -> SpanId {
    span(&[b"root", &trace.to_bytes()])
}

/// Returns the span of the step that has this key for the `ordinal`-th time below its parent.
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

/// The beginning of a SHA-256. Every part is preceded by its length, so that no two lists of parts are the same bytes.
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

/// Gives the spans of workflows their own ids, and all others those of your generator: for a provider to which
/// [`Workflows::exporting`](crate::workflow::Workflows::exporting) hands spans.
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
