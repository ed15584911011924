//! The root of a trace, the rank of a span as a root, and the error that represents the trace.
//! Pure.

use std::sync::Arc;

use crate::{
    span::{event::SpanKind, root_attributes::RootAttributes},
    trace::span_change::{SpanOutcome, SpanStart, SpanUpdate},
    util::time::Timestamp,
};

#[derive(Clone, Debug)]
pub(in crate::trace) struct Root {
    pub(in crate::trace) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(in crate::trace) name: Arc<str>,
    pub(in crate::trace) service: Arc<str>,
    pub(in crate::trace) kind: SpanKind,
    pub(in crate::trace) rank: Rank,
    pub(in crate::trace) start: Timestamp,
    pub(in crate::trace) outcome: Option<SpanOutcome>,
    pub(in crate::trace) attributes: Option<RootAttributes>,
}

impl Root {
    /// Returns an open root.
    pub(super) fn of(span_id: [u8; 8], start: &SpanStart) -> Self {
        Self {
            span_id,
            parent: start.parent,
            name: Arc::clone(&start.name),
            service: Arc::clone(&start.service),
            kind: start.kind,
            rank: Rank::of(start),
            start: start.start_time,
            outcome: None,
            attributes: start.of_root.clone(),
        }
    }

    pub(in crate::trace) fn is_genuine(&self) -> bool {
        self.rank > Rank::StandIn
    }

    pub(super) fn update(&mut self, update: &SpanUpdate) {
        if let Some(name) = &update.name {
            self.name.clone_from(name);
        }
        if let Some(change) = &update.of_root {
            self.attributes = Some(match &self.attributes {
                Some(known) => known.updated(change),
                None => change.clone(),
            });
        }
    }

    /// Updates name, start time, attributes and outcome from the root's end.
    pub(super) fn end(&mut self, start: &SpanStart, outcome: SpanOutcome) {
        self.name.clone_from(&start.name);
        self.start = start.start_time;
        self.outcome = Some(outcome);
        // A lost end may lack the updates of the span. The attributes stored here are then newer.
        if outcome != SpanOutcome::Lost {
            self.attributes.clone_from(&start.of_root);
        }
    }
}

/// How well a span serves as the root, worst first. If two spans have the same rank, the earlier
/// start wins, then the span that was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::trace) enum Rank {
    /// The span's parent is in the same process. The span is the root only until the parent is seen.
    StandIn,
    /// The span's parent is in another process. That process's clock may be ahead, so this span's
    /// start is not compared with that of a `Root`.
    Remote,
    /// The span has no parent.
    Root,
}

impl Rank {
    pub(super) fn of(start: &SpanStart) -> Self {
        match start.parent {
            None => Self::Root,
            Some(_) if start.parent_remote => Self::Remote,
            Some(_) => Self::StandIn,
        }
    }
}

/// The first error of a trace that has a message. Errors propagate outward, so the first one is
/// usually the cause of the later ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trace) struct TraceError {
    pub(in crate::trace) span_id: [u8; 8],
    pub(in crate::trace) name: Arc<str>,
    pub(in crate::trace) message: Box<str>,
}
