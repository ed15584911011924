//! Ends that were dropped when not even the mark of it fitted into the buffer: kept aside, bounded, for the worker
//! to find, so that their spans are not shown as running for ever. Host threads add, the worker takes all.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use opentelemetry_sdk::trace::SpanData;

use crate::util::{sync::lock, time::Timestamp};

/// Marks that are kept aside: 2 MiB. Spans beyond stay open until their provider is shut down.
const MARKS_MAX: usize = 65_536;

/// A span whose end was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) end: Timestamp,
}

impl Mark {
    pub(crate) fn of(span: &SpanData) -> Self {
        Self {
            trace_id: span.span_context.trace_id().to_bytes(),
            span_id: span.span_context.span_id().to_bytes(),
            end: span.end_time.into(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    waiting: AtomicBool,
    marks: Mutex<Vec<Mark>>,
}

impl Marks {
    /// Keeps the mark. The lock is otherwise held for a swap or another of these pushes only; but where `is_forked` says
    /// so, which is asked if it is held, nobody may ever give it back.
    pub(crate) fn keep(&self, mark: Mark, is_forked: impl FnOnce() -> bool) {
        let mut marks = match self.marks.try_lock() {
            Ok(marks) => marks,
            Err(_) if is_forked() => return,
            Err(_) => lock(&self.marks),
        };
        if marks.len() < MARKS_MAX {
            marks.push(mark);
        }
        drop(marks);
        self.waiting.store(true, Ordering::Release);
    }

    /// All that is kept, which is nothing most of the time.
    pub(crate) fn take(&self) -> Vec<Mark> {
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut *lock(&self.marks))
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
        let marks = Marks::default();
        let mark = Mark {
            trace_id: [1; 16],
            span_id: [1; 8],
            end: Timestamp::from_nanos(1),
        };
        let held = marks.marks.lock().unwrap();
        marks.keep(mark, || true);
        drop(held);
        assert_eq!(marks.take(), []);
    }

    #[test]
    fn marks_are_bounded_and_taken_once() {
        let marks = Marks::default();
        let mark = |number: u64| Mark {
            trace_id: [1; 16],
            span_id: number.to_be_bytes(),
            end: Timestamp::from_nanos(number),
        };
        let all = MARKS_MAX as u64;
        for number in 0..all + 9 {
            marks.keep(mark(number), || false);
        }
        assert_eq!(marks.take(), (0..all).map(mark).collect::<Vec<_>>());
        assert_eq!(marks.take(), []);
        marks.keep(mark(1), || false);
        assert_eq!(marks.take(), [mark(1)]);
    }
}
