//! The state that all handles of one run share: its trace, the counts of its steps, and the log that shows its spans.
//! The host's tasks use it; its locks are held for single map or field accesses only.

use std::sync::{Arc, Mutex, OnceLock};

use dashmap::DashMap;
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
use opentelemetry_sdk::Resource;

use crate::{
    otel::{shared::ProcessorShared, span_override::ProbeResult},
    span::{
        event::{SpanId, TraceId},
        record::Durability,
    },
    util::sync::lock,
    workflow::{
        export::Exporter,
        ids::{self, StepKey},
        outcome::Failure,
    },
};

/// The destinations of the spans: the log, and an optional exporter.
#[derive(Debug)]
pub(crate) struct SpanSink {
    pub(crate) parts: Arc<ProcessorShared>,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) durability: Durability,
    source: OnceLock<u32>,
}

impl SpanSink {
    pub(crate) fn new(
        parts: &Arc<ProcessorShared>,
        exporter: Option<Exporter>,
        durability: Durability,
    ) -> Self {
        Self {
            parts: Arc::clone(parts),
            exporter,
            durability,
            source: OnceLock::new(),
        }
    }

    /// Returns the process of the spans. The first call chooses it: the process of the log's newest tracer provider, or
    /// a new process if there is no provider.
    pub(crate) fn source(&self) -> u32 {
        *self.source.get_or_init(|| {
            self.parts.processes.newest().unwrap_or_else(|| {
                let source = self.parts.processes.add();
                self.parts
                    .set_resource(source, &Resource::builder().build());
                source
            })
        })
    }
}

/// Number of shards of a map of steps. Few tasks, mostly one, make the steps of one parent.
const STEP_SHARDS: usize = 2;

/// How often each step was made below one parent. The handles of the parent share it. The last handle frees the map, so
/// the memory of an instance that keeps making scopes does not grow.
#[derive(Debug)]
pub(crate) struct StepCounts(DashMap<StepKey, u64>);

/// The state that all handles of one run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) sink: Arc<SpanSink>,
    pub(crate) namespace: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) trace_id: TraceId,
    sampling: OnceLock<ProbeResult>,
    /// The counts of the steps below the root.
    pub(crate) root_step_counts: Arc<StepCounts>,
    cancelled: Mutex<Option<String>>,
}

impl Run {
    pub(crate) fn new(sink: &Arc<SpanSink>, namespace: &Arc<str>, instance: &str) -> Self {
        Self {
            sink: Arc::clone(sink),
            namespace: Arc::clone(namespace),
            instance: instance.into(),
            trace_id: ids::trace(namespace, instance),
            sampling: OnceLock::new(),
            root_step_counts: Arc::default(),
            cancelled: Mutex::default(),
        }
    }

    /// Resets the counts of the root's steps, because the function starts again.
    pub(crate) fn reset_steps(&self) {
        self.root_step_counts.0.clear();
    }

    /// Marks the run as cancelled. From now on, a span of it whose future is dropped ends as cancelled. Only the first
    /// reason counts.
    pub(crate) fn cancel(&self, reason: String) {
        lock(&self.cancelled).get_or_insert(reason);
    }

    /// Returns the sampler's decision about the trace. The sampler is called once per run, so either all spans of a run
    /// are exported or none.
    pub(crate) fn sampling(&self) -> &ProbeResult {
        self.sampling.get_or_init(|| match &self.sink.exporter {
            Some(exporter) => exporter.decide(self.trace_id),
            None => ProbeResult {
                is_sampled: true,
                trace_state: TraceState::NONE,
            },
        })
    }

    pub(crate) fn span_context(&self, span: SpanId) -> SpanContext {
        let sampling = self.sampling();
        SpanContext::new(
            opentelemetry::TraceId::from_bytes(self.trace_id.to_bytes()),
            opentelemetry::SpanId::from_bytes(span.to_bytes()),
            TraceFlags::NOT_SAMPLED.with_sampled(sampling.is_sampled),
            // Not remote, because the step runs in this process.
            false,
            sampling.trace_state.clone(),
        )
    }

    pub(crate) fn cancelled(&self) -> Option<Failure> {
        lock(&self.cancelled).clone().map(Failure::cancelled)
    }
}

impl Default for StepCounts {
    fn default() -> Self {
        Self(DashMap::with_shard_amount(STEP_SHARDS))
    }
}

impl StepCounts {
    /// Counts a step. Returns how often it was made before.
    pub(crate) fn next_ordinal(&self, key: &StepKey) -> u64 {
        let mut count = self.0.entry(key.clone()).or_default();
        let ordinal = *count;
        *count += 1;
        ordinal
    }
}
