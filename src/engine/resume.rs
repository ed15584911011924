//! Resolves a resume point: turns the last event id that a client sent into a position of this log. An id is a
//! position if the store knows its epoch and the epoch can have that sequence, or if this log issued it in an outage.
//! An unknown id is never an error. Runs on the reader's task.

use crate::{
    engine::log::Log,
    wire::id::{EventId, ResumePoint, Sequence},
};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumePosition {
    pub(crate) after: u64,
    /// Events up to this sequence that retention removed are not reported as missed: they were gone before the reader
    /// came.
    pub(crate) unreported_until: u64,
    /// Whether the reader sent an id that this log does not know.
    pub(crate) is_unknown: bool,
    /// Whether the reader begins at the head and sent no id.
    pub(crate) at_head: bool,
}

impl Log {
    /// Returns where a reader with this resume point begins.
    pub(crate) fn resolve(&self, resume: ResumePoint) -> ResumePosition {
        self.resolve_below(resume, self.tail.published())
    }

    /// Like [`resolve`](Self::resolve), in a log whose newest event is `head`.
    pub(crate) fn resolve_below(&self, resume: ResumePoint, head: u64) -> ResumePosition {
        let retained = ResumePosition {
            after: 0,
            unreported_until: self.oldest().saturating_sub(1),
            is_unknown: false,
            at_head: false,
        };
        let unknown = ResumePosition {
            is_unknown: true,
            ..retained
        };
        match resume {
            ResumePoint::Oldest => retained,
            ResumePoint::Live => ResumePosition {
                after: head,
                unreported_until: 0,
                at_head: true,
                ..retained
            },
            ResumePoint::After(sequence) if sequence.get() <= head => ResumePosition {
                after: sequence.get(),
                unreported_until: 0,
                ..retained
            },
            // If events were removed, a gap with the exact count says more than an unknown id.
            ResumePoint::Malformed if self.oldest() > 1 => {
                self.resolve_below(ResumePoint::After(Sequence::START), head)
            }
            ResumePoint::After(_) | ResumePoint::Malformed => unknown,
            ResumePoint::AfterId(id) => {
                if self.knows_id(id) {
                    self.resolve_below(ResumePoint::After(id.sequence()), head)
                } else {
                    unknown
                }
            }
        }
    }

    /// Returns whether this log, or an outage in it, can have issued the id.
    fn knows_id(&self, id: EventId) -> bool {
        let epochs = self.store.epochs();
        let Some(place) = epochs.iter().position(|start| start.epoch == id.epoch()) else {
            return self.outages.contains(id);
        };
        let next = epochs.get(place + 1);
        next.is_none_or(|next| id.sequence() < next.first)
    }
}
