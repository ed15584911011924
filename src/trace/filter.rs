//! The filters of `GET /traces` and `GET /traces/sse`, including the search text. Pure.

use std::{collections::HashSet, sync::Arc};

use crate::{
    span::event::{SpanKind, TraceId},
    trace::{
        search::{Search, SummaryVerdict, is_error},
        state::{Trace, TraceState},
    },
    util::time::Timestamp,
};

/// The filter of a list of traces. Values within one field are alternatives; all fields must match.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceFilter {
    /// The traces that the reader may see; `None` means all.
    pub(crate) within: Option<Arc<HashSet<TraceId>>>,
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) services: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) kinds: Vec<SpanKind>,
    /// The wanted outcomes: `true` (`status=ERROR`) stands for traces that failed, panicked or were
    /// lost, `false` (`status=OK`) for all others, also running ones.
    pub(crate) error: Vec<bool>,
    pub(crate) types: Vec<String>,
    pub(crate) states: Vec<TraceState>,
    pub(crate) duration_nanos_min: Option<u64>,
    pub(crate) linked_to: Option<TraceId>,
    pub(crate) search: Search,
}

impl TraceFilter {
    /// Returns whether the filter accepts a trace by its summary alone.
    pub(crate) fn accepts(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        self.accepts_fields(id, trace, now) && self.search.accepts(id, trace, now)
    }

    /// Returns the verdict on a trace from its summary alone.
    pub(crate) fn verdict(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> SummaryVerdict {
        if self.accepts_fields(id, trace, now) {
            self.search.verdict(id, trace, now)
        } else {
            SummaryVerdict::Rejected
        }
    }

    /// Returns whether the filter has no condition.
    #[cfg(feature = "mcp")]
    pub(crate) fn accepts_all(&self) -> bool {
        let Self {
            within,
            trace_ids,
            services,
            names,
            kinds,
            error,
            types,
            states,
            duration_nanos_min,
            linked_to,
            search,
        } = self;
        within.is_none()
            && trace_ids.is_empty()
            && services.is_empty()
            && names.is_empty()
            && kinds.is_empty()
            && error.is_empty()
            && types.is_empty()
            && states.is_empty()
            && duration_nanos_min.is_none()
            && linked_to.is_none()
            && search.is_empty()
    }

    fn accepts_fields(&self, id: &[u8; 16], trace: &Trace, now: Timestamp) -> bool {
        fn any<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(holds)
        }
        // A trace with log records but no spans yet is not listed, because the filter may reject
        // its spans.
        trace.total > 0
            && self.may_see(id)
            && any(&self.trace_ids, |one| one.to_bytes() == *id)
            && any(&self.services, |name| {
                trace.services().any(|service| *service.name == **name)
            })
            && any(&self.names, |name| trace.name() == name)
            && any(&self.kinds, |kind| trace.kind() == *kind)
            && any(&self.error, |error| is_error(trace) == *error)
            && any(&self.types, |one| match one.as_str() {
                "started" => trace.total > 0,
                "ended" => trace.ended > 0,
                _ => false,
            })
            && any(&self.states, |state| trace.state() == *state)
            && self
                .duration_nanos_min
                .is_none_or(|min| trace.duration_nanos(now) >= min)
            && self
                .linked_to
                .map(TraceId::to_bytes)
                .is_none_or(|linked| self.may_see(&linked) && trace.is_linked_to(&linked))
    }

    /// Returns the traces to which the filter is restricted by id, without those that the reader
    /// may not see. Returns `None` if it is not restricted.
    pub(crate) fn few(&self) -> Option<Vec<TraceId>> {
        let may_see = |id: &TraceId| self.may_see(&id.to_bytes());
        let mut few: Vec<TraceId> = if self.trace_ids.is_empty() {
            self.within.as_ref()?.iter().copied().collect()
        } else {
            self.trace_ids.iter().copied().filter(may_see).collect()
        };
        few.sort_unstable_by_key(|id| id.to_bytes());
        few.dedup();
        Some(few)
    }

    /// Returns whether an open trace may begin or cease to match as time passes, without any event.
    pub(super) fn depends_on_time(&self) -> bool {
        self.duration_nanos_min.is_some() || self.search.depends_on_time()
    }

    /// Returns whether the reader may see this trace.
    pub(crate) fn may_see(&self, id: &[u8; 16]) -> bool {
        self.within
            .as_ref()
            .is_none_or(|within| TraceId::from_bytes(*id).is_some_and(|id| within.contains(&id)))
    }
}
