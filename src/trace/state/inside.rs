//! The state that updates report of a trace's open spans: progress, await points, and whether they
//! already fail. Bounded. Pure; the worker thread writes it, the tasks of requests read it.

use crate::{
    span::{progress::SpanProgress, updates::Awaiting},
    trace::{span_change::AwaitPoint, state::open_spans::SmallSpanSet},
};

/// Upper bound on the spans of a trace whose progress and await points are stored. A further span
/// replaces the one whose last change is oldest, but never the root.
pub(super) const SPANS_MAX: usize = 64;

/// The reported state of open spans, and the progress of the root, which is kept after its end.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct InsideOfSpans {
    /// In the order of their last changes.
    spans: Vec<SpanInside>,
    /// Open spans with the status ERROR.
    failing: SmallSpanSet,
}

#[derive(Clone, Debug)]
struct SpanInside {
    span: [u8; 8],
    progress: SpanProgress,
    /// The last event that reported progress.
    progressed: u64,
    awaiting: Option<AwaitPoint>,
}

impl InsideOfSpans {
    /// Applies the progress that a span reported with the event of this sequence.
    pub(super) fn progress(
        &mut self,
        span: [u8; 8],
        root: Option<[u8; 8]>,
        (sequence, progress): (u64, &SpanProgress),
    ) {
        self.change(span, root, |known| {
            known.progress.update(progress);
            known.progressed = sequence;
        });
    }

    pub(super) fn set_awaiting(
        &mut self,
        span: [u8; 8],
        root: Option<[u8; 8]>,
        awaiting: &Awaiting<AwaitPoint>,
    ) {
        let point = match awaiting {
            Awaiting::On(point) => Some(point),
            Awaiting::Nothing | Awaiting::Unchanged => None,
        };
        if point.is_some() || self.place(span).is_some() {
            self.change(span, root, |known| known.awaiting = point.cloned());
        }
    }

    pub(super) fn set_failing(&mut self, span: [u8; 8], fails: bool) {
        if fails {
            self.failing.insert(span);
        } else {
            self.failing.remove(span);
        }
    }

    /// Applies the end of a span. Only the progress of the root is kept.
    pub(super) fn end(&mut self, span: [u8; 8], is_root: bool) {
        self.failing.remove(span);
        if let Some(place) = self.place(span) {
            match self.spans.get_mut(place).filter(|_| is_root) {
                Some(root) => root.awaiting = None,
                None => drop(self.spans.remove(place)),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the number of open spans that already fail.
    pub(super) fn failing(&self) -> u64 {
        self.failing.len() as u64
    }

    /// Returns the progress of the root, or else of the open span that last reported any.
    pub(super) fn shown_progress(
        &self,
        root: Option<[u8; 8]>,
        is_open: impl Fn([u8; 8]) -> bool,
    ) -> Option<&SpanProgress> {
        let reporting = || self.spans.iter().filter(|known| known.progress.is_shown());
        let of_root = reporting().find(|known| Some(known.span) == root);
        let of_open = || {
            let open = reporting().filter(|known| is_open(known.span));
            open.max_by_key(|known| known.progressed)
        };
        of_root.or_else(of_open).map(|known| &known.progress)
    }

    /// Returns the await point with the longest wait.
    pub(super) fn longest_await(&self) -> Option<&AwaitPoint> {
        let awaiting = self
            .spans
            .iter()
            .filter_map(|known| known.awaiting.as_ref());
        awaiting.min_by_key(|awaiting| awaiting.since)
    }

    fn place(&self, span: [u8; 8]) -> Option<usize> {
        self.spans.iter().position(|known| known.span == span)
    }

    /// Changes the entry of a span, or adds one. At the bound, the entry replaces another.
    fn change(
        &mut self,
        span: [u8; 8],
        root: Option<[u8; 8]>,
        change: impl FnOnce(&mut SpanInside),
    ) {
        let known = self.place(span).map(|place| self.spans.remove(place));
        let mut known = known.unwrap_or_else(|| SpanInside {
            span,
            progress: SpanProgress::default(),
            progressed: 0,
            awaiting: None,
        });
        change(&mut known);
        if self.spans.len() >= SPANS_MAX {
            let replaced = self.spans.iter().position(|one| Some(one.span) != root);
            self.spans.remove(replaced.unwrap_or_default());
        }
        self.spans.push(known);
    }
}
