//! Ends that were dropped when not even the mark of it fitted into the buffer: kept aside, bounded, for the worker
//! to find, so that their spans are not shown as running for ever. Host threads add, the worker takes all.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use opentelemetry_sdk::trace::SpanData;

use crate::util::{sync::lock, time::Timestamp};

/// Marks that are kept aside: 2 MiB. Spans beyond stay open until their provider is shut down.
const DROPPED_ENDS_MAX: usize = 65_536;

/// A span whose end was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DroppedEnd {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) end: Timestamp,
}

impl DroppedEnd {
    pub(crate) fn of(span: &SpanData) -> Self {
        Self {
            trace_id: span.span_context.trace_id().to_bytes(),
            span_id: span.span_context.span_id().to_bytes(),
            end: span.end_time.into(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DroppedEnds {
    is_filled: AtomicBool,
    ends: Mutex<Vec<DroppedEnd>>,
}

impl DroppedEnds {
    /// Keeps the mark. The lock is otherwise held for a swap or another of these pushes only; but where `is_forked` says
    /// so, which is asked if it is held, nobody may ever give it back.
    pub(crate) fn add(&self, end: DroppedEnd, is_forked: impl FnOnce() -> bool) {
        let mut ends = match self.ends.try_lock() {
            Ok(ends) => ends,
            Err(_) if is_forked() => return,
            Err(_) => lock(&self.ends),
        };
        if ends.len() < DROPPED_ENDS_MAX {
            ends.push(end);
        }
        drop(ends);
        self.is_filled.store(true, Ordering::Release);
    }

    /// All that is kept, which is nothing most of the time.
    pub(crate) fn take(&self) -> Vec<DroppedEnd> {
        if self.is_filled.load(Ordering::Relaxed) && self.is_filled.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut *lock(&self.ends))
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_does_not_wait_for_a_lock_that_nobody_holds_any_more() {
        let ends = DroppedEnds::default();
        let end = DroppedEnd {
            trace_id: [1; 16],
            span_id: [1; 8],
            end: Timestamp::from_nanos(1),
        };
        let held = ends.ends.lock().unwrap();
        ends.add(end, || true);
        drop(held);
        assert_eq!(ends.take(), []);
    }

    #[test]
    fn dropped_ends_are_bounded_and_taken_once() {
        let ends = DroppedEnds::default();
        let end = |number: u64| DroppedEnd {
            trace_id: [1; 16],
            span_id: number.to_be_bytes(),
            end: Timestamp::from_nanos(number),
        };
        let all = DROPPED_ENDS_MAX as u64;
        for number in 0..all + 9 {
            ends.add(end(number), || false);
        }
        assert_eq!(ends.take(), (0..all).map(end).collect::<Vec<_>>());
        assert_eq!(ends.take(), []);
        ends.add(end(1), || false);
        assert_eq!(ends.take(), [end(1)]);
    }
}
