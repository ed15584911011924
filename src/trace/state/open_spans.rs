//! The spans of one trace that are open, and small sets of spans. Most traces have one open span at a time and empty sets, so
//! both allocate only beyond that. Pure.

use crate::util::hash::{Map, Set};

/// Open spans, each with its parent. Where one is open at a time, as in a trace of one span, nothing is allocated.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct OpenSpans {
    one: Option<SpanAndParent>,
    others: Option<Box<Parents>>,
}

type SpanAndParent = ([u8; 8], Option<[u8; 8]>);

type Parents = Map<[u8; 8], Option<[u8; 8]>>;

impl OpenSpans {
    /// Whether it was not there.
    pub(in crate::trace) fn insert(&mut self, span: [u8; 8], parent: Option<[u8; 8]>) -> bool {
        match self.one {
            Some((one, _)) if one == span => {
                self.one = Some((span, parent));
                false
            }
            None if !self.is_other(span) => {
                self.one = Some((span, parent));
                true
            }
            _ => {
                let others = self.others.get_or_insert_default();
                others.insert(span, parent).is_none()
            }
        }
    }

    /// Whether it was there.
    pub(in crate::trace) fn remove(&mut self, span: [u8; 8]) -> bool {
        if self.one.is_some_and(|(one, _)| one == span) {
            self.one = None;
            return true;
        }
        let others = self.others.as_mut();
        others.is_some_and(|others| others.remove(&span).is_some())
    }

    pub(in crate::trace) fn is_other(&self, span: [u8; 8]) -> bool {
        let others = self.others.as_ref();
        others.is_some_and(|others| others.contains_key(&span))
    }

    pub(in crate::trace) fn contains(&self, span: [u8; 8]) -> bool {
        self.one.is_some_and(|(one, _)| one == span) || self.is_other(span)
    }

    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::trace) fn len(&self) -> usize {
        let others = self.others.as_ref().map_or(0, |others| others.len());
        usize::from(self.one.is_some()) + others
    }

    pub(in crate::trace) fn iter(&self) -> impl Iterator<Item = SpanAndParent> {
        let others = self.others.iter().flat_map(|others| others.iter());
        let others = others.map(|(span, parent)| (*span, *parent));
        self.one.into_iter().chain(others)
    }
}

/// A set that in most traces is empty, and small as long as it is.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct SmallSpanSet(Option<Box<Set<[u8; 8]>>>);

impl SmallSpanSet {
    pub(in crate::trace) fn insert(&mut self, span: [u8; 8]) {
        self.0.get_or_insert_default().insert(span);
    }

    /// Whether it was there.
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
