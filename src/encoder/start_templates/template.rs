//! One start template: what starts of one scope, name and set of keys have in common.

use std::sync::Arc;

use crate::{
    span::{
        event::SpanKind,
        json::{
            StartLayout,
            start_template::{PayloadTemplate, ScalarValue},
        },
        own_requests::OwnRequestSpans,
        record::StartOutline,
    },
    trace::span_change::SpanStart,
};

/// What starts have in common, beside their ids, values and times.
#[derive(Debug)]
pub(crate) struct StartTemplate {
    pub(super) source: u32,
    pub(super) traits: [u8; 3],
    pub(super) texts: Box<[u8]>,
    pub(super) keys: Box<[Box<[u8]>]>,
    pub(super) payload: PayloadTemplate,
    pub(super) name: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) kind: SpanKind,
    pub(super) parent_remote: bool,
    pub(super) has_path: bool,
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
    pub(crate) fn span_start(&self, outline: &StartOutline<'_>) -> SpanStart {
        SpanStart {
            parent: outline.ids.parent,
            parent_remote: self.parent_remote,
            name: Arc::clone(&self.name),
            service: Arc::clone(&self.service),
            kind: self.kind,
            start_time: outline.ids.start,
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

    pub(super) fn has_keys_of(&self, outline: &StartOutline<'_>) -> bool {
        let keys = self.keys.iter().map(|key| &**key);
        keys.eq(outline.pairs().map(|(key, _)| key))
    }

    pub(super) fn matches(&self, outline: &StartOutline<'_>) -> bool {
        self.source == outline.source
            && self.traits == outline.traits
            && self.keys.len() == outline.attributes as usize
            && *self.texts == *outline.texts
    }
}
