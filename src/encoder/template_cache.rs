//! Starts that look like one before: of the same scope and name, with the same keys. A program has few such shapes, and
//! makes most of its spans in one of them, so what they have in common is read, checked and encoded once. Bounded. Runs
//! on the worker thread.

use std::{hash::BuildHasher as _, sync::Arc};

use crate::{
    span::{
        event::SpanKind,
        json::{
            SpanFields, StartLayout, Value,
            template::{PayloadTemplate, ScalarValue},
        },
        own_requests::OwnRequestSpans,
        record::StartOutline,
    },
    trace::state::Begun,
    util::hash::RandomState,
};

/// Shapes that are known at once; each is of a record of at most two kilobytes.
const ENTRIES: usize = 256;

/// What starts have in common, beside their ids, values and times.
#[derive(Debug)]
pub(crate) struct StartTemplate {
    source: u32,
    traits: [u8; 3],
    texts: Box<[u8]>,
    keys: Box<[Box<[u8]>]>,
    payload: PayloadTemplate,
    name: Arc<str>,
    service: Arc<str>,
    kind: SpanKind,
    parent_remote: bool,
    has_path: bool,
}

impl StartTemplate {
    /// Writes the payload of a start of this shape; `None`, and nothing, when it is of another, or has a value that needs a
    /// closer look.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        outline: &StartOutline<'_>,
    ) -> Option<StartLayout> {
        let mut pairs = outline.pairs();
        let values = self.keys.iter().map(|key| {
            let (of, value) = pairs.next()?;
            (**key == *of).then_some(value)
        });
        self.payload.started(out, &outline.ids, values)
    }

    /// What is remembered of a start of this shape.
    pub(crate) fn span_start(&self, outline: &StartOutline<'_>) -> Begun {
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
    pub(crate) fn is_hidden(
        &self,
        own_requests: &OwnRequestSpans,
        outline: &StartOutline<'_>,
    ) -> bool {
        let paths = outline.pairs().filter_map(|(key, value)| match value {
            ScalarValue::Text(text)
                if std::str::from_utf8(key).is_ok_and(OwnRequestSpans::is_path) =>
            {
                std::str::from_utf8(text).ok()
            }
            _ => None,
        });
        own_requests.contains(outline.ids.span_id, outline.ids.parent)
            || (self.has_path && own_requests.covers(paths))
    }

    fn has_keys_of(&self, outline: &StartOutline<'_>) -> bool {
        let keys = self.keys.iter().map(|key| &**key);
        keys.eq(outline.pairs().map(|(key, _)| key))
    }

    fn matches(&self, outline: &StartOutline<'_>) -> bool {
        self.source == outline.source
            && self.traits == outline.traits
            && self.keys.len() == outline.attributes as usize
            && *self.texts == *outline.texts
    }
}

/// The shapes that were met lately.
#[derive(Debug, Default)]
pub(crate) struct TemplateCache {
    hashing: RandomState,
    entries: Vec<CacheEntry>,
}

#[derive(Debug, Default)]
struct CacheEntry {
    template: Option<Arc<StartTemplate>>,
    /// The hash of the last start that was of another shape: only the second in a row is learnt, so that names which are
    /// met once cost no more than a look.
    last_miss: u64,
}

impl TemplateCache {
    /// A shape that the start may be of: its keys are not compared.
    #[inline]
    pub(crate) fn find(&self, outline: &StartOutline<'_>) -> Option<&Arc<StartTemplate>> {
        let entry = self.entries.get(entry_of(self.hash(outline)))?;
        entry
            .template
            .as_ref()
            .filter(|template| template.matches(outline))
    }

    /// Learns the shape of this start, which became this span, unless a value of it must be looked at each time: one that
    /// was replaced, or whose key is watched.
    pub(crate) fn learn(
        &mut self,
        outline: &StartOutline<'_>,
        span: &SpanFields<'_>,
        span_start: &Begun,
        depends_on_value: impl Fn(&str) -> bool,
    ) {
        let hash = self.hash(outline);
        if self.entries.is_empty() {
            self.entries.resize_with(ENTRIES, CacheEntry::default);
        }
        let Some(entry) = self.entries.get_mut(entry_of(hash)) else {
            return;
        };
        let known = entry.template.as_ref();
        if known.is_some_and(|known| known.matches(outline) && known.has_keys_of(outline)) {
            return;
        }
        if entry.last_miss != hash {
            entry.last_miss = hash;
            return;
        }
        entry.last_miss = 0;
        let mut attributes = span.attributes.iter();
        if attributes.any(|(key, value)| matches!(value, Value::Owned(_)) || depends_on_value(key))
        {
            return;
        }
        let keys: Vec<Box<[u8]>> = outline.pairs().map(|(key, _)| key.into()).collect();
        let is_plain = keys.len() == span.attributes.len();
        let Some(payload) = PayloadTemplate::of(span).filter(|_| is_plain) else {
            return;
        };
        entry.template = Some(Arc::new(StartTemplate {
            source: outline.source,
            traits: outline.traits,
            texts: outline.texts.into(),
            keys: keys.into_boxed_slice(),
            payload,
            name: Arc::clone(&span_start.name),
            service: Arc::clone(&span_start.service),
            kind: span.kind,
            parent_remote: span.parent_remote,
            has_path: span
                .attributes
                .iter()
                .any(|(key, _)| OwnRequestSpans::is_path(key)),
        }));
    }

    #[inline]
    fn hash(&self, outline: &StartOutline<'_>) -> u64 {
        let [flags, has, kind] = outline.traits;
        let head = u32::from_le_bytes([flags, has, kind, 0]);
        self.hashing
            .hash_one((head, outline.source, outline.attributes, outline.texts))
    }
}

#[inline]
fn entry_of(hash: u64) -> usize {
    usize::try_from(hash % ENTRIES as u64).unwrap_or(0)
}
