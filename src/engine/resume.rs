//! Where a reconnect finds its place: turns what a client sent as its last event id into a position of this log. An id of an
//! earlier epoch that the store still knows is a place; any other is unknown, and never an error. Runs on the reader's task.

use crate::{
    engine::log::Log,
    wire::id::{EventId, ResumePoint, Sequence},
};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumePosition {
    pub(crate) after: u64,
    /// Up to here, what is missing was gone before the reader came and does not count as missed.
    pub(crate) unreported_until: u64,
    /// Whether the reader named a place that this log does not know.
    pub(crate) is_unknown: bool,
    /// Whether the reader begins at the head without a place of its own.
    pub(crate) at_head: bool,
}

impl Log {
    /// Where a reader begins who wants to go on at this point.
    pub(crate) fn resolve(&self, resume: ResumePoint) -> ResumePosition {
        self.resolve_below(resume, self.tail.published())
    }

    /// The same in a log that ends at `head`.
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
            // Where events are gone, the exact gap says more than that the id was none.
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

    /// Whether the life that an id names could have given it.
    fn knows_id(&self, id: EventId) -> bool {
        let epochs = self.store.epochs();
        let Some(place) = epochs.iter().position(|start| start.epoch == id.epoch()) else {
            return self.outages.contains(id);
        };
        let next = epochs.get(place + 1);
        next.is_none_or(|next| id.sequence() < next.first)
    }
}
