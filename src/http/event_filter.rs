//! Narrows the stream of a trace to what its reader asked for, after what the reader may see has been decided. It runs on
//! the reader's task.

use std::fmt;

use crate::{
    log::block::BlockEvent,
    sse::body::{Projected, Projection},
    trace::parse::EventFilter,
    wire::{control, id::EventId},
};

/// The filter of a trace's stream, around the projection for its reader.
pub(crate) struct FilteredProjection {
    inner: Option<Box<dyn Projection>>,
    filter: EventFilter,
    /// Whether the reader sees the trace through a view. Then only the type is compared: fields that the view hides must
    /// not show in what a filter lets through.
    is_viewed: bool,
}

impl fmt::Debug for FilteredProjection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilteredProjection")
            .field("filter", &self.filter)
            .field("is_viewed", &self.is_viewed)
            .finish_non_exhaustive()
    }
}

impl FilteredProjection {
    pub(crate) fn new(
        inner: Option<Box<dyn Projection>>,
        filter: EventFilter,
        is_viewed: bool,
    ) -> Self {
        Self {
            inner,
            filter,
            is_viewed,
        }
    }

    fn wants(&self, event: &BlockEvent<'_>) -> bool {
        let name = event.name();
        // As on `/sse`, every reader is told of losses, and of processes.
        event.is_global()
            || event.with_payload(|payload| {
                control::is_damaged(name, payload)
                    || if self.is_viewed {
                        self.filter.accepts_type(name)
                    } else {
                        self.filter.accepts(name, payload)
                    }
            })
    }
}

impl Projection for FilteredProjection {
    fn project(&mut self, id: EventId, event: &BlockEvent<'_>) -> Projected {
        let is_wanted = self.wants(event);
        // A view gets every event: it decides about an update by the start of its span.
        if !is_wanted && !self.is_viewed {
            return Projected::Hidden;
        }
        let projected = match &mut self.inner {
            Some(inner) => inner.project(id, event),
            None => Projected::Unchanged,
        };
        if is_wanted {
            projected
        } else {
            Projected::Hidden
        }
    }
}
