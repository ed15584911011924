//! Filters a stream by its reader's request: [`StreamFilter`]. On the stream of a trace,
//! [`FilteredProjection`] applies the filter after the reader's permission has been checked. It
//! runs on the reader's task.

use std::{fmt, sync::Arc};

use crate::{
    engine::log::Log,
    log::block::BlockEvent,
    span::event::{SpanId, TraceId},
    sse::body::{Projected, Projection},
    trace::parse::{self, EventFilter},
    util::hash::Set,
    wire::{control, id::EventId},
};

/// The filter of a stream, and the open spans that its reader has seen. An update has no service,
/// no kind and mostly no name, so it passes if the start of its span passes.
pub(crate) struct StreamFilter {
    filter: EventFilter,
    log: Arc<Log>,
    /// Spans whose start the filter accepts and whose end the reader has not reached.
    open: Set<(TraceId, SpanId)>,
}

impl StreamFilter {
    /// Upper bound on the spans that are stored for one reader. The start of a further span is
    /// looked up in the log while the span is open.
    const SPANS_MAX: usize = 65_536;

    pub(crate) fn new(filter: EventFilter, log: &Arc<Log>) -> Self {
        Self {
            filter,
            log: Arc::clone(log),
            open: Set::default(),
        }
    }

    fn accepts_type(&self, name: &str) -> bool {
        self.filter.accepts_type(name)
    }

    pub(crate) fn accepts(&mut self, name: &str, payload: &[u8]) -> bool {
        let Self { filter, open, .. } = self;
        let wants_updates = filter.is_about_spans() && filter.accepts_type("updated");
        match name {
            "started" if wants_updates && open.len() < Self::SPANS_MAX => {
                let span = span_of(payload).filter(|_| filter.accepts_span(payload));
                open.extend(span);
            }
            "updated" if wants_updates => {
                return filter.accepts_status(payload)
                    && (filter.accepts_span(payload) || self.accepts_span_of(payload));
            }
            "ended" if !open.is_empty() => {
                if let Some(span) = span_of(payload) {
                    open.remove(&span);
                }
            }
            _ => {}
        }
        self.filter.accepts(name, payload)
    }

    /// Returns whether the filter accepts the start of the update's span. A reader that connected
    /// after the start still finds it in the log while the span is open.
    fn accepts_span_of(&self, update: &[u8]) -> bool {
        let Some((trace, span)) = span_of(update) else {
            return false;
        };
        if self.open.contains(&(trace, span)) {
            return true;
        }
        let token = u64::from_be_bytes(span.to_bytes());
        let start = self.log.tail.open_event(&trace.stream_key(), token);
        start.is_some_and(|start| {
            let mut events = start.events();
            events.any(|event| event.with_payload(|payload| self.filter.accepts_span(payload)))
        })
    }
}

fn span_of(payload: &[u8]) -> Option<(TraceId, SpanId)> {
    Some((parse::trace_id(payload)?, parse::span_id(payload)?))
}

/// The filter of a trace's stream, around the projection for its reader.
pub(crate) struct FilteredProjection {
    inner: Option<Box<dyn Projection>>,
    filter: StreamFilter,
    /// Whether the reader sees the trace through a view. If so, only the type is compared:
    /// otherwise the filter's results would reveal fields that the view hides.
    is_viewed: bool,
}

impl fmt::Debug for FilteredProjection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilteredProjection")
            .field("filter", &self.filter.filter)
            .field("is_viewed", &self.is_viewed)
            .finish_non_exhaustive()
    }
}

impl FilteredProjection {
    pub(crate) fn new(
        inner: Option<Box<dyn Projection>>,
        filter: StreamFilter,
        is_viewed: bool,
    ) -> Self {
        Self {
            inner,
            filter,
            is_viewed,
        }
    }

    fn wants(&mut self, event: &BlockEvent<'_>) -> bool {
        let name = event.name();
        // As on `/sse`, every reader gets gaps and `process` events, unless its projection hides
        // them.
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
        // A view must see every event, because it decides about an update by the start of its span.
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
