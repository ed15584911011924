//! What the next span of this thread is to be, where the SDK's builder cannot be told: its ids, whether it is sampled,
//! and that the log has it already. The SDK asks generator, sampler and processors on the thread that makes the span,
//! so a value of that thread, set around the call, reaches all of them.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use opentelemetry::trace::{SpanId, TraceId, TraceState};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult};

/// A log's own mark: two logs may watch one provider, and what one has been told the other has not.
pub(crate) type LogIdentity = Arc<()>;

thread_local! {
    /// Whether any of the others is set: they are asked at every span, and this one is quick.
    static IS_SET: Cell<bool> = const { Cell::new(false) };
    static TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
    static SPAN: Cell<Option<SpanId>> = const { Cell::new(None) };
    static SAMPLING: RefCell<NextSampling> = const { RefCell::new(NextSampling::Inner) };
    static LOGGED: RefCell<Option<(LogIdentity, SpanId)>> = const { RefCell::new(None) };
}

/// The ids of the next span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanIds {
    /// Only of a root: any other span has the trace of its parent.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: SpanId,
}

/// Who decides whether the next span is sampled. Spans that others make meanwhile, in a processor for example, are none
/// of this: what is decided is taken by the first who asks.
#[derive(Debug, Default)]
enum NextSampling {
    /// The user's sampler.
    #[default]
    Inner,
    /// The user's sampler is only asked: no span is made.
    Probe,
    Probed(ProbeResult),
    /// It is decided already.
    Forced(TraceState),
}

/// What a sampler said.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeResult {
    pub(crate) is_sampled: bool,
    pub(crate) trace_state: TraceState,
}

/// Makes a span with these ids, sampled, of which this log is told already.
pub(crate) fn with_span<T>(
    ids: SpanIds,
    state: TraceState,
    logged: &LogIdentity,
    make: impl FnOnce() -> T,
) -> T {
    let _reset = Reset;
    IS_SET.set(true);
    TRACE.set(ids.trace_id);
    SPAN.set(Some(ids.span_id));
    SAMPLING.replace(NextSampling::Forced(state));
    LOGGED.replace(Some((Arc::clone(logged), ids.span_id)));
    make()
}

/// Asks the sampler about a span with these ids: `make` builds one, which is none if a
/// [`LiveSampler`](crate::LiveSampler) decides. `None` when another does.
pub(crate) fn probe_sampler<T>(ids: SpanIds, make: impl FnOnce() -> T) -> Option<ProbeResult> {
    let _reset = Reset;
    IS_SET.set(true);
    TRACE.set(ids.trace_id);
    SPAN.set(Some(ids.span_id));
    SAMPLING.replace(NextSampling::Probe);
    drop(make());
    match SAMPLING.take() {
        NextSampling::Probed(result) => Some(result),
        _ => None,
    }
}

/// Leaves nothing behind, whatever panics meanwhile.
struct Reset;

impl Drop for Reset {
    fn drop(&mut self) {
        IS_SET.set(false);
        TRACE.set(None);
        SPAN.set(None);
        SAMPLING.replace(NextSampling::Inner);
        LOGGED.replace(None);
    }
}

/// Whether the next span of this thread may be told apart from any other at all.
#[inline]
pub(crate) fn is_set() -> bool {
    IS_SET.get()
}

/// The trace that the next span must have, once.
pub(crate) fn trace_id() -> Option<TraceId> {
    TRACE.take()
}

/// The id that the next span must have, once.
pub(crate) fn span_id() -> Option<SpanId> {
    SPAN.take()
}

/// Whether this log has the span.
#[inline]
pub(crate) fn is_already_logged(log: &LogIdentity, span: SpanId) -> bool {
    is_set() && is_logged_by(log, span)
}

fn is_logged_by(log: &LogIdentity, span: SpanId) -> bool {
    LOGGED.with_borrow(|logged| {
        logged
            .as_ref()
            .is_some_and(|(logged, id)| *id == span && Arc::ptr_eq(logged, log))
    })
}

/// What was decided about the next span before, once.
#[inline]
pub(crate) fn forced_sampling() -> Option<SamplingResult> {
    if is_set() { take_forced() } else { None }
}

fn take_forced() -> Option<SamplingResult> {
    SAMPLING.with_borrow_mut(|sampling| {
        let NextSampling::Forced(state) = sampling else {
            return None;
        };
        let state = std::mem::take(state);
        *sampling = NextSampling::Inner;
        Some(result(SamplingDecision::RecordAndSample, state))
    })
}

/// Whether the sampler is only asked.
#[inline]
pub(crate) fn is_probe() -> bool {
    is_set() && SAMPLING.with_borrow(|sampling| matches!(sampling, NextSampling::Probe))
}

/// Notes what the sampler says, and turns it into no span.
pub(crate) fn answer_probe(said: &mut SamplingResult) {
    let result = ProbeResult {
        is_sampled: said.decision == SamplingDecision::RecordAndSample,
        trace_state: said.trace_state.clone(),
    };
    SAMPLING.replace(NextSampling::Probed(result));
    said.decision = SamplingDecision::Drop;
    said.attributes.clear();
}

fn result(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult {
        decision,
        attributes: Vec::new(),
        trace_state,
    }
}
