//! The cache of start templates, found by a hash of a start's outline. It never holds more than [`ENTRIES`] templates.
//! Only the worker thread uses it.

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

/// The start templates of recent starts.
#[derive(Debug, Default)]
pub(crate) struct TemplateCache {
    hashing: RandomState,
    entries: Vec<CacheEntry>,
}

impl TemplateCache {
    /// Returns a template that may fit the start. Its keys may still differ: [`StartTemplate::write`] compares them.
    #[inline]
    pub(crate) fn find(&self, outline: &StartOutline<'_>) -> Option<&Arc<StartTemplate>> {
        let entry = self.entries.get(entry_of(self.hash(outline)))?;
        entry
            .template
            .as_ref()
            .filter(|template| template.matches(outline))
    }

    /// Makes a template from a start, its span and its index entry. Does so only if the previous start that missed the
    /// same cache entry had the same hash. Makes none if the start reports progress, or if a value must be examined
    /// each time: it was masked, or `depends_on_value` holds for its key.
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
        // The index reads progress from the values.
        if span_start.progress.is_some()
            || attributes
                .any(|(key, value)| matches!(value, Value::Owned(_)) || depends_on_value(key))
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
            may_be_own_request: span
                .attributes
                .iter()
                .any(|(key, _)| OwnRequestSpans::may_cover(span.kind, key)),
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
    /// The hash of the last start that did not match. A template is made only for the second such start in a row, so a
    /// name that occurs once costs only one look-up.
    last_miss: u64,
}

#[inline]
fn entry_of(hash: u64) -> usize {
    usize::try_from(hash % ENTRIES as u64).unwrap_or(0)
}

/// Upper bound on templates; each comes from a record of at most 2 KiB.
const ENTRIES: usize = 256;
