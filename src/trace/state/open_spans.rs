//! The open spans of one trace, and small sets of spans. Most traces have one open span at a time
//! and empty sets; neither case allocates. Pure.

use crate::{
    span::event::SpanKind,
    trace::{operations::table::OperationId, span_change::SpanStart},
    util::{
        hash::{Map, Set},
        time::Timestamp,
    },
};

/// Upper bound on open spans of a trace that share their id with another open span; further ones are not counted.
pub(in crate::trace) const TWINS_MAX: usize = 256;

/// The remembered fields of an open span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) struct OpenEntry {
    pub(in crate::trace) parent: Option<[u8; 8]>,
    pub(in crate::trace) kind: SpanKind,
    /// The start time in the start event. The end event may correct it.
    pub(in crate::trace) start: Timestamp,
    /// The operation in which the span counts as running.
    pub(in crate::trace) operation: OperationId,
}

impl OpenEntry {
    pub(in crate::trace) fn of(start: &SpanStart) -> Self {
        Self {
            parent: start.parent,
            kind: start.kind,
            start: start.start_time,
            operation: OperationId::NONE,
        }
    }

    pub(in crate::trace) fn counted_in(self, operation: OperationId) -> Self {
        Self { operation, ..self }
    }

    /// Returns whether the parents and the kinds, which never change, are equal. Ids alone do not
    /// identify a span.
    fn is_alike(&self, other: &Self) -> bool {
        (self.parent, self.kind) == (other.parent, other.kind)
    }
}

/// Whether a start opened a new span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Opened {
    /// The span was not open before.
    New,
    /// The span was already open.
    Again,
}

/// Open spans by id. A trace that has only one span open at a time allocates nothing.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct OpenSpans {
    one: Option<([u8; 8], OpenEntry)>,
    others: Option<Box<Others>>,
}

#[derive(Clone, Debug, Default)]
struct Others {
    by_id: Map<[u8; 8], OpenEntry>,
    /// Open spans with the id of another open one.
    twins: Vec<([u8; 8], OpenEntry)>,
}

impl OpenSpans {
    pub(in crate::trace) fn insert(&mut self, id: [u8; 8], span: OpenEntry) -> Opened {
        let Some(known) = self.get(id) else {
            if self.one.is_none() {
                self.one = Some((id, span));
            } else {
                self.others.get_or_insert_default().by_id.insert(id, span);
            }
            return Opened::New;
        };
        if known.is_alike(&span) {
            return Opened::Again;
        }
        let twins = &mut self.others.get_or_insert_default().twins;
        let is_known = twins
            .iter()
            .any(|(twin, other)| *twin == id && other.is_alike(&span));
        if is_known || twins.len() >= TWINS_MAX {
            return Opened::Again;
        }
        twins.push((id, span));
        Opened::New
    }

    /// Removes the span with this id. If several spans have the id, removes the one with the parent
    /// and kind of `ended`. Returns the removed entry.
    pub(in crate::trace) fn remove(&mut self, id: [u8; 8], ended: &OpenEntry) -> Option<OpenEntry> {
        let twin = self.take_twin(id, ended);
        if let Some((known, span)) = self.one
            && known == id
        {
            self.one = twin.map(|twin| (id, twin));
            return Some(span);
        }
        let Some(others) = &mut self.others else {
            return None;
        };
        match twin {
            // The twin takes the place of the removed span.
            Some(twin) => others.by_id.insert(id, twin),
            None => others.by_id.remove(&id),
        }
    }

    /// Removes the span with this id. No other open span may have the id.
    pub(in crate::trace) fn take(&mut self, id: [u8; 8]) -> Option<OpenEntry> {
        match self.one {
            Some((one, span)) if one == id => {
                self.one = None;
                Some(span)
            }
            _ => self.others.as_mut()?.by_id.remove(&id),
        }
    }

    /// Removes a twin with this id from the list. If the ended span itself, the one like `ended`, is in the list, it
    /// first swaps places with the span that the table has under the id. Returns the span that the table must have
    /// under the id from now on, or `None` if the list has no span with the id.
    fn take_twin(&mut self, id: [u8; 8], ended: &OpenEntry) -> Option<OpenEntry> {
        let others = self
            .others
            .as_mut()
            .filter(|others| !others.twins.is_empty())?;
        let goes = |(twin, span): &([u8; 8], OpenEntry)| *twin == id && span.is_alike(ended);
        if let Some(place) = others.twins.iter().position(goes) {
            // `known` has not ended, so the caller puts it back.
            let (_, twin) = others.twins.swap_remove(place);
            let known = match &mut self.one {
                Some((one, span)) if *one == id => std::mem::replace(span, twin),
                _ => others.by_id.insert(id, twin)?,
            };
            return Some(known);
        }
        let place = others.twins.iter().position(|(twin, _)| *twin == id)?;
        Some(others.twins.swap_remove(place).1)
    }

    /// Forgets and returns the twins. Their ends may never arrive.
    pub(in crate::trace) fn forget_twins(&mut self) -> Vec<([u8; 8], OpenEntry)> {
        let twins = self.others.as_mut().map(|others| &mut others.twins);
        twins.map(std::mem::take).unwrap_or_default()
    }

    fn get(&self, id: [u8; 8]) -> Option<OpenEntry> {
        match self.one {
            Some((one, span)) if one == id => Some(span),
            _ => self.others.as_ref()?.by_id.get(&id).copied(),
        }
    }

    pub(in crate::trace) fn contains(&self, id: [u8; 8]) -> bool {
        self.get(id).is_some()
    }

    /// Returns the parent of an open span, or `None` if the span is not open or has no parent.
    pub(in crate::trace) fn parent(&self, id: [u8; 8]) -> Option<[u8; 8]> {
        self.get(id)?.parent
    }

    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::trace) fn len(&self) -> usize {
        let others = self.others.as_ref();
        let others = others.map_or(0, |others| others.by_id.len() + others.twins.len());
        usize::from(self.one.is_some()) + others
    }

    pub(in crate::trace) fn iter(&self) -> impl Iterator<Item = ([u8; 8], OpenEntry)> {
        let others = self.others.iter();
        let others = others.flat_map(|others| {
            others
                .by_id
                .iter()
                .map(|(id, span)| (*id, *span))
                .chain(others.twins.iter().copied())
        });
        self.one.into_iter().chain(others)
    }
}

/// A set that is empty in most traces and small in the others.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct SmallSpanSet(Option<Box<Set<[u8; 8]>>>);

impl SmallSpanSet {
    pub(in crate::trace) fn insert(&mut self, span: [u8; 8]) {
        self.0.get_or_insert_default().insert(span);
    }

    /// Returns whether the span was in the set.
    pub(in crate::trace) fn remove(&mut self, span: [u8; 8]) -> bool {
        self.0.as_mut().is_some_and(|set| set.remove(&span))
    }

    pub(in crate::trace) fn contains(&self, span: [u8; 8]) -> bool {
        self.0.as_ref().is_some_and(|set| set.contains(&span))
    }

    pub(in crate::trace) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.len())
    }

    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
