//! Starts that look like one before: of the same scope and name, with the same keys. A program has few such shapes, and
//! makes most of its spans in one of them, so what they have in common is read, checked and encoded once. Bounded. Runs
//! on the worker thread.

use std::{hash::BuildHasher as _, sync::Arc};

use crate::{
    span::{
        event::SpanKind,
        json::{
            Places, Span, Value,
            template::{Mould, Plain},
        },
        record::Outline,
        self_requests::Hidden,
    },
    trace::state::Begun,
    util::hash::RandomState,
};

/// Shapes that are known at once; each is of a record of at most two kilobytes.
const PLACES: usize = 256;

/// What starts have in common, beside their ids, values and times.
#[derive(Debug)]
pub(crate) struct Shape {
    source: u32,
    traits: [u8; 3],
    texts: Box<[u8]>,
    keys: Box<[Box<[u8]>]>,
    mould: Mould,
    name: Arc<str>,
    service: Arc<str>,
    kind: SpanKind,
    parent_remote: bool,
    tells_path: bool,
}

impl Shape {
    /// Writes the payload of a start of this shape; `None`, and nothing, when it is of another, or has a value that needs a
    /// closer look.
    pub(crate) fn write(&self, out: &mut Vec<u8>, outline: &Outline<'_>) -> Option<Places> {
        let mut pairs = outline.pairs();
        let values = self.keys.iter().map(|key| {
            let (of, value) = pairs.next()?;
            (**key == *of).then_some(value)
        });
        self.mould.started(out, &outline.ids, values)
    }

    /// What is remembered of a start of this shape.
    pub(crate) fn begun(&self, outline: &Outline<'_>) -> Begun {
        Begun {
            parent: outline.ids.parent,
            parent_remote: self.parent_remote,
            name: Arc::clone(&self.name),
            service: Arc::clone(&self.service),
            kind: self.kind,
            start: outline.ids.start,
            links: Box::default(),
        }
    }

    /// Whether a span that starts, which is of this shape, is a viewer's. To ask changes nothing, unlike to
    /// [tell](Hidden::hides_start) of the start.
    pub(crate) fn is_hidden(&self, hidden: &Hidden, outline: &Outline<'_>) -> bool {
        let paths = outline.pairs().filter_map(|(key, value)| match value {
            Plain::Text(text) if std::str::from_utf8(key).is_ok_and(Hidden::is_path) => {
                std::str::from_utf8(text).ok()
            }
            _ => None,
        });
        hidden.knows(outline.ids.span_id, outline.ids.parent)
            || (self.tells_path && hidden.covers(paths))
    }

    fn has_keys_of(&self, outline: &Outline<'_>) -> bool {
        let keys = self.keys.iter().map(|key| &**key);
        keys.eq(outline.pairs().map(|(key, _)| key))
    }

    fn is_of(&self, outline: &Outline<'_>) -> bool {
        self.source == outline.source
            && self.traits == outline.traits
            && self.keys.len() == outline.attributes as usize
            && *self.texts == *outline.texts
    }
}

/// The shapes that were met lately.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    hashing: RandomState,
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    shape: Option<Arc<Shape>>,
    /// The hash of the last start that was of another shape: only the second in a row is learnt, so that names which are
    /// met once cost no more than a look.
    met: u64,
}

impl Shapes {
    /// A shape that the start may be of: its keys are not compared.
    #[inline]
    pub(crate) fn find(&self, outline: &Outline<'_>) -> Option<&Arc<Shape>> {
        let place = self.places.get(place_of(self.hash(outline)))?;
        place.shape.as_ref().filter(|shape| shape.is_of(outline))
    }

    /// Learns the shape of this start, which became this span, unless a value of it must be looked at each time: one that
    /// was replaced, or whose key is watched.
    pub(crate) fn learn(
        &mut self,
        outline: &Outline<'_>,
        span: &Span<'_>,
        begun: &Begun,
        is_watched: impl Fn(&str) -> bool,
    ) {
        let hash = self.hash(outline);
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        let Some(place) = self.places.get_mut(place_of(hash)) else {
            return;
        };
        let known = place.shape.as_ref();
        if known.is_some_and(|known| known.is_of(outline) && known.has_keys_of(outline)) {
            return;
        }
        if place.met != hash {
            place.met = hash;
            return;
        }
        place.met = 0;
        let mut attributes = span.attributes.iter();
        if attributes.any(|(key, value)| matches!(value, Value::Owned(_)) || is_watched(key)) {
            return;
        }
        let keys: Vec<Box<[u8]>> = outline.pairs().map(|(key, _)| key.into()).collect();
        let is_plain = keys.len() == span.attributes.len();
        let Some(mould) = Mould::of(span).filter(|_| is_plain) else {
            return;
        };
        place.shape = Some(Arc::new(Shape {
            source: outline.source,
            traits: outline.traits,
            texts: outline.texts.into(),
            keys: keys.into_boxed_slice(),
            mould,
            name: Arc::clone(&begun.name),
            service: Arc::clone(&begun.service),
            kind: span.kind,
            parent_remote: span.parent_remote,
            tells_path: span.attributes.iter().any(|(key, _)| Hidden::is_path(key)),
        }));
    }

    #[inline]
    fn hash(&self, outline: &Outline<'_>) -> u64 {
        let [flags, has, kind] = outline.traits;
        let head = u32::from_le_bytes([flags, has, kind, 0]);
        self.hashing
            .hash_one((head, outline.source, outline.attributes, outline.texts))
    }
}

#[inline]
fn place_of(hash: u64) -> usize {
    usize::try_from(hash % PLACES as u64).unwrap_or(0)
}
