//! One start template: the bytes and fields that starts of one scope, name and list of keys have in common. It writes
//! the whole payload or nothing. Only the worker thread uses it.

use std::sync::Arc;

use crate::{
    span::{
        event::SpanKind,
        json::{
            StartLayout,
            start_template::{PayloadTemplate, ScalarValue},
        },
        own_requests::{OwnRequestSpans, RequestTarget},
        record::StartOutline,
        redact::Redaction,
        root_attributes::RootAttributes,
    },
    trace::span_change::SpanStart,
};

/// The common part of similar starts: everything except their ids, values and times.
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
    pub(super) may_be_own_request: bool,
}

impl StartTemplate {
    /// Writes the payload of a start. If its keys differ, or a value must be examined, returns `None` and writes
    /// nothing.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        outline: &StartOutline<'_>,
        redaction: &Redaction,
    ) -> Option<StartLayout> {
        let mut pairs = outline.pairs();
        let values = self.keys.iter().map(|key| {
            let (of, value) = pairs.next()?;
            (**key == *of).then_some(value)
        });
        let keeps = |text: &[u8]| redaction.keeps(text);
        self.payload.started(out, &outline.ids, values, keeps)
    }

    /// Returns the index entry of a start of this template.
    pub(crate) fn span_start(&self, outline: &StartOutline<'_>) -> SpanStart {
        SpanStart {
            parent: outline.ids.parent,
            parent_remote: self.parent_remote,
            name: Arc::clone(&self.name),
            service: Arc::clone(&self.service),
            kind: self.kind,
            start_time: outline.ids.start,
            links: Box::default(),
            // A start that reports progress has no template.
            progress: None,
            of_root: match (outline.ids.parent, self.parent_remote) {
                (Some(_), false) => None,
                _ => RootAttributes::of_scalars(outline.pairs()),
            },
        }
    }

    /// Returns whether a start of this template belongs to a request to our own routes. Unlike
    /// [`hides_start`](OwnRequestSpans::hides_start), it changes no state.
    pub(crate) fn is_hidden(
        &self,
        own_requests: &OwnRequestSpans,
        outline: &StartOutline<'_>,
    ) -> bool {
        let texts = outline.pairs().filter_map(|(key, value)| match value {
            ScalarValue::Text(text) => Some((
                std::str::from_utf8(key).ok()?,
                std::str::from_utf8(text).ok()?,
            )),
            _ => None,
        });
        let has_local_parent = outline.ids.parent.is_some() && !self.parent_remote;
        own_requests.contains(outline.ids.span_id, outline.ids.parent)
            || (self.may_be_own_request
                && own_requests.judges_by_path()
                && own_requests.covers(self.kind, has_local_parent, &RequestTarget::of(texts)))
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
