//! The start templates that were used lately, found by a hash of a start's outline. Bounded.

use std::{hash::BuildHasher as _, sync::Arc};

use crate::{
    encoder::start_templates::template::StartTemplate,
    span::{
        json::{SpanFields, Value, start_template::PayloadTemplate},
        own_requests::OwnRequestSpans,
        record::StartOutline,
    },
    trace::span_change::SpanStart,
    util::hash::RandomState,
};

/// The shapes that were met lately.
#[derive(Debug, Default)]
pub(crate) struct TemplateCache {
    hashing: RandomState,
    entries: Vec<CacheEntry>,
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
        span_start: &SpanStart,
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

#[derive(Debug, Default)]
struct CacheEntry {
    template: Option<Arc<StartTemplate>>,
    /// The hash of the last start that was of another shape: only the second in a row is learnt, so that names which are
    /// met once cost no more than a look.
    last_miss: u64,
}

#[inline]
fn entry_of(hash: u64) -> usize {
    usize::try_from(hash % ENTRIES as u64).unwrap_or(0)
}

/// Shapes that are known at once; each is of a record of at most two kilobytes.
const ENTRIES: usize = 256;
