//! The `ended` event made from the bytes of its `started` event: what both say is copied, not written again. Pure; the
//! worker calls it.

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

/// Where in a `started` event stands what the end of its span says again, so that it need not be written twice.
#[derive(Clone, Debug)]
pub(crate) struct StartLayout {
    pub(super) identity: Range<usize>,
    /// Up to the last of them, without the brace that closes.
    pub(super) attributes: Range<usize>,
    pub(super) timestamp: Range<usize>,
    pub(super) traits: Range<usize>,
    pub(super) keys: KeySet,
}

impl StartLayout {
    /// Whether these attributes can stand behind those of the start, of which this is the payload: none of them repeats
    /// another.
    pub(crate) fn accepts_added(&self, started: &[u8], added: &Pairs<'_>) -> bool {
        if added.len() > PAIRS_UNHASHED_MAX {
            return false;
        }
        let there = started.get(self.attributes.clone()).unwrap_or_default();
        let mut keys = self.keys;
        let are_new = added.iter().enumerate().all(|(index, (key, _))| {
            // What is found within a value costs time and nothing else.
            keys.add(key)
                || (memmem::find(there, &[&*quoted(key), b":"].concat()).is_none()
                    && !occurs_before(added, index, key))
        });
        are_new && keys.count <= ATTRIBUTES_MAX
    }
}

/// What the end of a span says that its start did not, and what stands within the payload of that.
#[derive(Debug)]
pub(crate) struct EndFromStart<'a> {
    pub(crate) started: &'a [u8],
    pub(crate) layout: &'a StartLayout,
    /// Where the start did not say it: when the span began, its scope and the version of that.
    pub(crate) start: Option<Timestamp>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) scope_version: Option<&'a str>,
    /// The places must [have room](Places::have_room_for) for them.
    pub(crate) added: &'a Pairs<'a>,
    pub(crate) links: &'a [Link<'a>],
    pub(crate) truncated: bool,
}

/// Writes what [`ended`] writes, from the payload of the span's start.
pub(crate) fn ended_from_start(out: &mut Vec<u8>, from: &EndFromStart<'_>, end: &EndFields<'_>) {
    let copied = |range: &Range<usize>| from.started.get(range.clone()).unwrap_or_default();
    let mut writer = JsonWriter::new(out);
    writer.raw(b"{\"type\":\"ended\"");
    writer.raw(copied(&from.layout.identity));
    if let Some(scope) = from.scope {
        writer.text("scope", opening!("scope"), scope);
    }
    writer.status(&end.status);
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
    if end.cancelled {
        writer.raw(b",\"cancelled\":true");
    }
    writer.links(from.links);
    writer.raw(copied(&from.layout.traits));
    if let Some(version) = from.scope_version {
        writer.text("scopeVersion", opening!("scopeVersion"), version);
    }
    writer.dropped([0, end.dropped_events, end.dropped_links]);
    writer.end(from.truncated, false);
}
