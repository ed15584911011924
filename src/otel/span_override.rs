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
pub(crate) type Told = Arc<()>;

thread_local! {
    /// Whether any of the others is set: they are asked at every span, and this one is quick.
    static IS_SET: Cell<bool> = const { Cell::new(false) };
    static TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
    static SPAN: Cell<Option<SpanId>> = const { Cell::new(None) };
    static SAMPLING: RefCell<Sampling> = const { RefCell::new(Sampling::Inner) };
    static TOLD: RefCell<Option<(Told, SpanId)>> = const { RefCell::new(None) };
}

/// The ids of the next span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Only of a root: any other span has the trace of its parent.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: SpanId,
}

/// Who decides whether the next span is sampled. Spans that others make meanwhile, in a processor for example, are none
/// of this: what is decided is taken by the first who asks.
#[derive(Debug, Default)]
enum Sampling {
    /// The user's sampler.
    #[default]
    Inner,
    /// The user's sampler is only asked: no span is made.
    Asked,
    Answered(Decided),
    /// It is decided already.
    Sampled(TraceState),
}

/// What a sampler said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    pub(crate) is_sampled: bool,
    pub(crate) trace_state: TraceState,
}

/// Makes a span with these ids, sampled, of which this log is told already.
pub(crate) fn with<T>(ids: Ids, state: TraceState, told: &Told, make: impl FnOnce() -> T) -> T {
    let _reset = Reset;
    IS_SET.set(true);
    TRACE.set(ids.trace_id);
    SPAN.set(Some(ids.span_id));
    SAMPLING.replace(Sampling::Sampled(state));
    TOLD.replace(Some((Arc::clone(told), ids.span_id)));
    make()
}

/// Asks the sampler about a span with these ids: `make` builds one, which is none if a
/// [`LiveSampler`](crate::LiveSampler) decides. `None` when another does.
pub(crate) fn ask<T>(ids: Ids, make: impl FnOnce() -> T) -> Option<Decided> {
    let _reset = Reset;
    IS_SET.set(true);
    TRACE.set(ids.trace_id);
    SPAN.set(Some(ids.span_id));
    SAMPLING.replace(Sampling::Asked);
    drop(make());
    match SAMPLING.take() {
        Sampling::Answered(decided) => Some(decided),
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
        SAMPLING.replace(Sampling::Inner);
        TOLD.replace(None);
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
pub(crate) fn is_told(log: &Told, span: SpanId) -> bool {
    is_set() && is_told_of(log, span)
}

fn is_told_of(log: &Told, span: SpanId) -> bool {
    TOLD.with_borrow(|told| {
        told.as_ref()
            .is_some_and(|(told, id)| *id == span && Arc::ptr_eq(told, log))
    })
}

/// What was decided about the next span before, once.
#[inline]
pub(crate) fn decided() -> Option<SamplingResult> {
    if is_set() { take_decided() } else { None }
}

fn take_decided() -> Option<SamplingResult> {
    SAMPLING.with_borrow_mut(|sampling| {
        let Sampling::Sampled(state) = sampling else {
            return None;
        };
        let state = std::mem::take(state);
        *sampling = Sampling::Inner;
        Some(result(SamplingDecision::RecordAndSample, state))
    })
}

/// Whether the sampler is only asked.
#[inline]
pub(crate) fn is_asked() -> bool {
    is_set() && SAMPLING.with_borrow(|sampling| matches!(sampling, Sampling::Asked))
}

/// Notes what the sampler says, and turns it into no span.
pub(crate) fn answer(said: &mut SamplingResult) {
    let decided = Decided {
        is_sampled: said.decision == SamplingDecision::RecordAndSample,
        trace_state: said.trace_state.clone(),
    };
    SAMPLING.replace(Sampling::Answered(decided));
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
