//! A bounded list of dropped ends whose short `DROPPED_END` record did not fit into the ingest buffer either, or that
//! the worker could not join with their start. The worker ends these spans as lost; otherwise they would appear to
//! run for ever. Host threads and the worker thread add to the list; only the worker thread empties it. Its lock is
//! never held across a callback, an await or I/O.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use opentelemetry_sdk::trace::SpanData;

use crate::util::{sync::lock, time::Timestamp};

/// Upper bound on the list, which then uses 2 MiB. Spans beyond the bound stay open until their provider is shut down.
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
    /// Adds an end, unless the list is full. Other threads hold the lock only for one push or one swap. In a forked
    /// child, a lock that the parent held at the fork is never released. So if the lock is held, this calls
    /// `is_forked`, and discards the end in a child.
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

    /// Removes and returns all ends. The list is empty most of the time.
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
