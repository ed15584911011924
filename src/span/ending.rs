//! Determines how a span ends, in the call that ends it: normally, because of a panic, or because its future was
//! dropped. The SDK does not report this, but it calls the processor on the thread that ends the span. This code runs
//! on the host's threads: it never waits and never panics, and an ordinary end costs three loads.
//!
//! A span whose future was dropped may end later, on another thread, with its last handle. So a table marks the span
//! until it ends.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use opentelemetry::trace::SpanContext;

/// How a span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The program ended or dropped the span.
    Plain,
    /// A panic ends it.
    Panicked,
    /// The span's future was dropped before it was ready.
    Cancelled,
}

/// The known details of a panic. The code that creates these texts bounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanicDetails {
    pub(crate) message: Option<String>,
    /// File, line and column.
    pub(crate) location: Option<String>,
    /// The name of the panicking thread.
    pub(crate) thread: Option<String>,
}

/// A caught panic ends the span; this thread no longer unwinds.
const ENDS_PANICKED: u8 = 1;
/// `PANIC` holds a panic.
const HAS_DETAILS: u8 = 2;
/// A future that is not ready is being dropped.
const ENDS_CANCELLED: u8 = 4;

thread_local! {
    /// The flags above. Every end reads them, because they are cheaper to read than the details.
    static FLAGS: Cell<u8> = const { Cell::new(0) };
    /// The last 64 bits of the trace id of the span whose future is being dropped; 0 if unknown.
    static CANCELLED_TRACE: Cell<u64> = const { Cell::new(0) };
    /// The newest panic of this thread.
    static PANIC: RefCell<Option<Arc<PanicDetails>>> = const { RefCell::new(None) };
}

/// Open spans whose future was dropped before it was ready.
static CANCELLED: CancelledSpans = CancelledSpans::new();

/// Returns how this span ends. Call it on the thread that ends the span, within the call that ends it.
#[inline]
pub(crate) fn of(span: &SpanContext) -> Ending {
    if thread::panicking() || FLAGS.get() != 0 || CANCELLED.has_any() {
        unusual(span)
    } else {
        Ending::Plain
    }
}

#[cold]
fn unusual(span: &SpanContext) -> Ending {
    let was_cancelled = unmark_cancelled(span);
    let flags = FLAGS.get();
    if thread::panicking() || flags & ENDS_PANICKED != 0 {
        return Ending::Panicked;
    }
    if flags & HAS_DETAILS != 0 {
        // These details are from a caught panic. They must not be used for a later one.
        replace_details(None);
    }
    if was_cancelled || flags & ENDS_CANCELLED != 0 {
        Ending::Cancelled
    } else {
        Ending::Plain
    }
}

/// Returns the details of the panic that ends spans on this thread.
pub(crate) fn panic_details() -> Option<Arc<PanicDetails>> {
    // `PANIC` is borrowed only for a clone or a swap. A thread whose thread-locals are gone has no details.
    PANIC
        .try_with(|panic| panic.try_borrow().ok()?.clone())
        .ok()
        .flatten()
}

/// Stores the details of the panic that begins on this thread.
pub(crate) fn note_panic(panic: PanicDetails) {
    replace_details(Some(Arc::new(panic)));
}

/// Calls `end`. Every span that ends within that call ends because of `panic`, which was caught before.
pub(crate) fn as_panicked<T>(panic: Option<Arc<PanicDetails>>, end: impl FnOnce() -> T) -> T {
    let _restore = Restore {
        flags: FLAGS.get(),
        details: replace_details(panic),
    };
    FLAGS.set(FLAGS.get() | ENDS_PANICKED);
    end()
}

/// Calls `end`, which drops a future of `span`. `span` is `None` if it is unknown. Spans that end within that call are
/// cancelled, unless a panic ends them.
pub(crate) fn as_cancelled<T>(span: Option<&SpanContext>, end: impl FnOnce() -> T) -> T {
    let trace = span.map_or(0, trace_number);
    let _reset = ResetCancelled {
        flag: FLAGS.get() & ENDS_CANCELLED,
        trace: CANCELLED_TRACE.replace(trace),
    };
    FLAGS.set(FLAGS.get() | ENDS_CANCELLED);
    end()
}

/// Returns whether a future that is not ready is being dropped on this thread.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn is_cancelling() -> bool {
    FLAGS.get() & ENDS_CANCELLED != 0
}

/// Marks a span that is exited while a future is being dropped: to drop a nested future, `tracing` enters that future's
/// span once more. The span counts as cancelled even if a handle on another thread keeps it open. A span of another
/// trace, such as that of a connection, is not marked: it continues to live.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn mark_exited(span: &SpanContext) {
    let trace = CANCELLED_TRACE.get();
    if trace != 0 && trace == trace_number(span) {
        mark_cancelled(span);
    }
}

/// Marks a span whose future was dropped before it was ready. The span ends as cancelled, on any thread.
pub(crate) fn mark_cancelled(span: &SpanContext) {
    CANCELLED.insert(token(span));
}

/// Removes the mark, because the span ends or another future of it is ready. Returns whether the span was marked.
pub(crate) fn unmark_cancelled(span: &SpanContext) -> bool {
    CANCELLED.has_any() && CANCELLED.remove(token(span))
}

/// Returns whether any span is marked.
pub(crate) fn has_cancelled_spans() -> bool {
    CANCELLED.has_any()
}

fn trace_number(span: &SpanContext) -> u64 {
    let trace = span.trace_id().to_bytes();
    trace.last_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// Returns a number for a span, never 0. Two spans have equal numbers about as rarely as equal span ids.
fn token(span: &SpanContext) -> u64 {
    let trace = trace_number(span);
    let id = u64::from_be_bytes(span.span_id().to_bytes());
    (trace ^ id.wrapping_mul(MIXER)).max(1)
}

/// An odd multiplier that spreads its input over all bits: 2^64 divided by the golden ratio.
const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A set of span numbers. It never waits: a new span overwrites another one in the same place, and the overwritten span
/// then ends as if its future had been ready.
struct CancelledSpans {
    /// Number of places in use.
    count: AtomicUsize,
    places: [AtomicU64; CancelledSpans::PLACES],
}

impl CancelledSpans {
    /// Upper bound on the spans in the set. A span is usually in the set from the drop of its future to the drop of its
    /// last handle.
    const PLACES: usize = 1024;

    const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            places: [const { AtomicU64::new(0) }; Self::PLACES],
        }
    }

    /// Returns whether the set may have a span. All accesses are relaxed. The handles of the span order the threads:
    /// the thread that ends the span got its handle from the thread that dropped the future.
    #[inline]
    fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    fn insert(&self, token: u64) {
        let before = self.place(token).swap(token, Ordering::Relaxed);
        if before == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove(&self, token: u64) -> bool {
        let removed =
            self.place(token)
                .compare_exchange(token, 0, Ordering::Relaxed, Ordering::Relaxed);
        if removed.is_ok() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        removed.is_ok()
    }

    fn place(&self, token: u64) -> &AtomicU64 {
        let [.., a, b] = token.wrapping_mul(MIXER).to_le_bytes();
        let place = usize::from(u16::from_le_bytes([a, b])) % Self::PLACES;
        // The remainder is always a valid index.
        self.places.get(place).unwrap_or(&self.places[0])
    }
}

/// Restores this thread's flags and panic details, even after a panic.
struct Restore {
    flags: u8,
    details: Option<Arc<PanicDetails>>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        replace_details(self.details.take());
        FLAGS.set(self.flags);
    }
}

/// Resets the flag to its earlier value, even after a panic. Other flags may have changed meanwhile.
struct ResetCancelled {
    flag: u8,
    trace: u64,
}

impl Drop for ResetCancelled {
    fn drop(&mut self) {
        FLAGS.set(FLAGS.get() & !ENDS_CANCELLED | self.flag);
        CANCELLED_TRACE.set(self.trace);
    }
}

/// Sets the newest panic of this thread. Returns the previous one.
fn replace_details(panic: Option<Arc<PanicDetails>>) -> Option<Arc<PanicDetails>> {
    let others = FLAGS.get() & !HAS_DETAILS;
    FLAGS.set(if panic.is_some() {
        others | HAS_DETAILS
    } else {
        others
    });
    PANIC
        .try_with(|slot| {
            slot.try_borrow_mut()
                .ok()
                .and_then(|mut slot| std::mem::replace(&mut *slot, panic))
        })
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn details(message: &str) -> Arc<PanicDetails> {
        Arc::new(PanicDetails {
            message: Some(message.to_owned()),
            ..PanicDetails::default()
        })
    }

    /// Records the ending while it is dropped.
    struct EndingProbe<'a>(&'a Cell<Ending>);

    impl Drop for EndingProbe<'_> {
        fn drop(&mut self) {
            self.0.set(of(&SpanContext::NONE));
        }
    }

    #[test]
    fn a_span_that_ends_while_its_thread_unwinds_is_panicked() {
        let seen = Cell::new(Ending::Plain);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _probe = EndingProbe(&seen);
            panic!("out of luck");
        }));
        assert!(unwound.is_err());
        assert_eq!(
            (seen.get(), of(&SpanContext::NONE)),
            (Ending::Panicked, Ending::Plain)
        );
    }

    #[test]
    fn a_caught_panic_ends_only_the_spans_inside_its_call() {
        let inside = as_panicked(Some(details("one")), || {
            let nested = as_panicked(Some(details("two")), || panic_details().unwrap());
            (of(&SpanContext::NONE), panic_details().unwrap(), nested)
        });
        assert_eq!(inside, (Ending::Panicked, details("one"), details("two")));
        assert_eq!(
            (of(&SpanContext::NONE), panic_details()),
            (Ending::Plain, None)
        );
    }

    #[test]
    fn details_of_a_caught_panic_are_forgotten_at_the_next_end() {
        replace_details(Some(details("caught")));
        assert_eq!(
            (of(&SpanContext::NONE), panic_details()),
            (Ending::Plain, None)
        );
    }

    #[test]
    fn a_span_is_cancelled_where_its_future_is_dropped_and_later_by_its_mark() {
        let span = |number: u64| {
            SpanContext::new(
                TraceId::from(7),
                SpanId::from(number),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            )
        };
        assert_eq!(as_cancelled(None, || of(&span(1))), Ending::Cancelled);
        assert_eq!(of(&span(1)), Ending::Plain);
        mark_cancelled(&span(2));
        mark_cancelled(&span(2));
        assert_eq!(
            [1, 2, 2].map(|number| of(&span(number))),
            [Ending::Plain, Ending::Cancelled, Ending::Plain]
        );
        mark_cancelled(&span(3));
        assert!(
            unmark_cancelled(&span(3)),
            "the mark of the span is missing"
        );
        assert_eq!(of(&span(3)), Ending::Plain);
    }

    #[test]
    fn a_panic_wins_over_a_dropped_future() {
        let inside = as_panicked(None, || as_cancelled(None, || of(&SpanContext::NONE)));
        assert_eq!(inside, Ending::Panicked);
        let unwound = catch_unwind(|| as_cancelled(None, || panic!("a destructor of the future")));
        assert!(unwound.is_err());
        assert_eq!(of(&SpanContext::NONE), Ending::Plain);
    }

    #[test]
    fn the_set_of_cancelled_spans_is_bounded_and_counts_its_members() {
        let set = CancelledSpans::new();
        let tokens = 1..=10 * CancelledSpans::PLACES as u64;
        tokens.clone().for_each(|token| set.insert(token));
        let count = set.count.load(Ordering::Relaxed);
        assert!(count <= CancelledSpans::PLACES);
        let removed = tokens.filter(|token| set.remove(*token)).count();
        assert_eq!((removed, set.has_any()), (count, false));
    }
}
