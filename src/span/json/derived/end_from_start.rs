//! Makes the `ended` event from the bytes of its `started` event: fields that both have are copied, not encoded again.
//! The result must equal the bytes that [`ended`](crate::span::json::ended) would write. Pure; the worker thread calls
//! it.

use std::ops::Range;

use memchr::memmem;

use crate::{
    span::json::{
        fields::{EndFields, Link},
        repeated_keys::{KeySet, PAIRS_UNHASHED_MAX, occurs_before},
        scan::quoted,
        size_limits::ATTRIBUTES_MAX,
        value::Pairs,
        writer::JsonWriter,
    },
    util::time::Timestamp,
};

/// The byte ranges of a `started` event that the `ended` event of its span repeats.
#[derive(Clone, Debug)]
pub(crate) struct StartLayout {
    pub(in crate::span::json) identity: Range<usize>,
    /// The range ends with the last attribute, before the closing brace.
    pub(in crate::span::json) attributes: Range<usize>,
    pub(in crate::span::json) timestamp: Range<usize>,
    pub(in crate::span::json) traits: Range<usize>,
    pub(in crate::span::json) keys: KeySet,
}

impl StartLayout {
    /// Returns whether these attributes can follow those of the start, whose payload is `started`. No key may be
    /// repeated, at most [`PAIRS_UNHASHED_MAX`] may be added, and start and end together may have at most
    /// [`ATTRIBUTES_MAX`].
    pub(crate) fn accepts_added(&self, started: &[u8], added: &Pairs<'_>) -> bool {
        if added.len() > PAIRS_UNHASHED_MAX {
            return false;
        }
        let there = started.get(self.attributes.clone()).unwrap_or_default();
        let mut keys = self.keys;
        let are_new = added.iter().enumerate().all(|(index, (key, _))| {
            // The search may also match inside a value, which only costs time.
            keys.add(key)
                || (memmem::find(there, &[&*quoted(key), b":"].concat()).is_none()
                    && !occurs_before(added, index, key))
        });
        are_new && keys.count <= ATTRIBUTES_MAX
    }
}

/// The payload of a start, and the fields that only the end has.
#[derive(Debug)]
pub(crate) struct EndFromStart<'a> {
    pub(crate) started: &'a [u8],
    pub(crate) layout: &'a StartLayout,
    /// `start`, `scope` and `scope_version` are set only if the `started` event lacks the exact value.
    pub(crate) start: Option<Timestamp>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) scope_version: Option<&'a str>,
    /// The start's layout must [accept](StartLayout::accepts_added) these attributes.
    pub(crate) added: &'a Pairs<'a>,
    pub(crate) links: &'a [Link<'a>],
    /// The time of receipt, which the start must not have.
    pub(crate) received: Option<Timestamp>,
    pub(crate) truncated: bool,
}

/// Writes the `ended` event from the payload of the span's start.
pub(crate) fn ended_from_start(out: &mut Vec<u8>, from: &EndFromStart<'_>, end: &EndFields<'_>) {
    let copied = |range: &Range<usize>| from.started.get(range.clone()).unwrap_or_default();
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"ended\"");
    writer.raw(copied(&from.layout.identity));
    if let Some(scope) = from.scope {
        writer.text("scope", opening!("scope"), scope);
    }
    writer.status(&end.status);
    writer.reason(&end.reason);
    writer.raw(copied(&from.layout.attributes));
    let mut types = Vec::new();
    for (key, value) in from.added {
        writer.member("attributes", key, value, &mut types);
    }
    writer.out.push(b'}');
    writer.types(&types);
    if let Some(start) = from.start {
        writer.time(opening!("startTimestamp"), start);
    } else {
        writer.raw(opening!("startTimestamp"));
        writer.raw(copied(&from.layout.timestamp));
    }
    writer.time(opening!("timestamp"), end.end);
    writer.events(&end.events);
    writer.links(from.links);
    writer.raw(copied(&from.layout.traits));
    if let Some(version) = from.scope_version {
        writer.text("scopeVersion", opening!("scopeVersion"), version);
    }
    if let Some(received) = from.received {
        writer.time(opening!("receivedTimestamp"), received);
    }
    writer.dropped([0, end.dropped_events, end.dropped_links]);
    writer.end(from.truncated, false);
}
