//! Sets properties of this thread's next span that the SDK's span builder cannot set: its ids, its sampling decision,
//! and a mark that the log already has the span. The SDK calls the id generator, the sampler and the processors on the
//! thread that makes the span. So they see thread-locals that are set around the call. The thread-locals are reset even
//! after a panic. It runs on the host's threads and never waits.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use opentelemetry::trace::{SpanId, TraceId, TraceState};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult};

/// The identity of a log, compared by address. Two logs may watch one provider, and a span may be in only one of them.
pub(crate) type LogIdentity = Arc<()>;

thread_local! {
    /// Whether any of the other overrides is set. Every span reads this flag, which is cheaper than reading the
    /// overrides.
    static IS_SET: Cell<bool> = const { Cell::new(false) };
    static TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
    static SPAN: Cell<Option<SpanId>> = const { Cell::new(None) };
    static SAMPLING: RefCell<NextSampling> = const { RefCell::new(NextSampling::Inner) };
    static LOGGED: RefCell<Option<(LogIdentity, SpanId)>> = const { RefCell::new(None) };
}

/// The ids of the next span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanIds {
    /// Set for a root only: any other span has the trace of its parent.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: SpanId,
}

/// The source of the next span's sampling decision. The first sampler call consumes the override, so it does not affect
/// spans that other processors create within the call.
#[derive(Debug, Default)]
enum NextSampling {
    /// The user's sampler.
    #[default]
    Inner,
    /// Only the decision of the user's sampler is needed. No span is made.
    Probe,
    /// The user's sampler has answered a probe.
    Probed(ProbeResult),
    /// The span is sampled, with this trace state. The user's sampler is not called.
    Forced(TraceState),
}

/// The decision of a probed sampler.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeResult {
    pub(crate) is_sampled: bool,
    pub(crate) trace_state: TraceState,
}

/// Calls `make`, whose next span has these ids, is sampled, and is already in this log.
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

/// Asks the sampler about a span with these ids. `make` builds the span; a [`LiveSampler`](crate::LiveSampler) stores
/// the decision and drops the span. Returns `None` if the provider's sampler is not a `LiveSampler`.
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

/// Resets every override when it is dropped, even after a panic.
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

/// Returns whether an override is set for the next span of this thread.
#[inline]
pub(crate) fn is_set() -> bool {
    IS_SET.get()
}

/// Removes and returns the trace id that the next span must have.
pub(crate) fn trace_id() -> Option<TraceId> {
    TRACE.take()
}

/// Removes and returns the id that the next span must have.
pub(crate) fn span_id() -> Option<SpanId> {
    SPAN.take()
}

/// Returns whether this log already has the span.
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

/// Removes and returns the forced sampling decision of the next span, if there is one.
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

/// Returns whether only the sampler's decision is needed.
#[inline]
pub(crate) fn is_probe() -> bool {
    is_set() && SAMPLING.with_borrow(|sampling| matches!(sampling, NextSampling::Probe))
}

/// Stores the sampler's decision and replaces it with `Drop`, so that no span is made.
pub(crate) fn answer_probe(sampling: &mut SamplingResult) {
    let result = ProbeResult {
        is_sampled: sampling.decision == SamplingDecision::RecordAndSample,
        trace_state: sampling.trace_state.clone(),
    };
    SAMPLING.replace(NextSampling::Probed(result));
    sampling.decision = SamplingDecision::Drop;
    sampling.attributes.clear();
}

fn result(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult {
        decision,
        attributes: Vec::new(),
        trace_state,
    }
}
