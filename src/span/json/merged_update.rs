//! Merges the `updated` events of one open span into one equivalent event: the last value of each attribute and field,
//! and all events and links in their order. Merging is associative, so a part may be merged before the rest arrives.
//! Values are copied and never decoded. Pure; the worker thread and the tasks that answer HTTP requests call it.

use crate::{
    span::json::{
        primitives::field,
        scan::{elements, fields},
        size_limits::CUT_PATHS_MAX,
    },
    util::hash::Map,
};

/// The fields in the order in which an `updated` event has them; other fields follow.
const ORDER: [&[u8]; 12] = [
    b"type",
    b"traceId",
    b"spanId",
    b"process",
    b"complete",
    b"name",
    b"status",
    b"state",
    b"task",
    b"awaiting",
    b"panic",
    b"timestamp",
];

/// An estimate of the memory that an attribute or a field needs besides its text, in bytes.
const MEMBER_BYTES: usize = 96;

/// Unchanged bytes of an event.
type RawText = Box<[u8]>;

/// `updated` events of one span, merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedUpdate {
    /// Fields whose last value counts, in the order of their first occurrence.
    fields: Vec<(RawText, RawText)>,
    attributes: Map<RawText, Attribute>,
    events: RawList,
    links: RawList,
    /// The paths of the parts that were cut, as JSON texts.
    cut: Vec<RawText>,
    has_more_cuts: bool,
    size: usize,
}

#[derive(Clone, Debug)]
struct Attribute {
    place: usize,
    value: RawText,
    /// The attribute's entry in `attributeTypes`, if there is one.
    kind: Option<RawText>,
}

/// The elements of a JSON array, with commas between them.
#[derive(Clone, Debug, Default)]
struct RawList {
    text: Vec<u8>,
    len: usize,
}

impl MergedUpdate {
    /// Adds the next event of the span. A complete one replaces those before it, because it repeats them.
    pub(crate) fn add(&mut self, payload: &[u8]) {
        let mut first = fields(payload).take(COMPLETE_PLACE + 1);
        if first.any(|(key, value)| key == b"complete" && value == b"true") {
            *self = Self::default();
        }
        let before = (self.events.len, self.links.len);
        for (key, value) in fields(payload) {
            match key {
                b"attributes" => self.set_attributes(value),
                b"events" => self.size += self.events.append(value),
                b"links" => self.size += self.links.append(value),
                b"attributeTypes" | b"cut" => {}
                _ => self.set_field(key, value),
            }
        }
        // These two fields refer to other fields of the event, so they are read last.
        for (key, value) in fields(payload) {
            match key {
                b"attributeTypes" => self.set_types(value),
                b"cut" => elements(value).for_each(|path| self.add_cut(path, before)),
                _ => {}
            }
        }
    }

    /// Returns an estimate of the memory of the merged event, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.size
    }

    /// Returns whether no event was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the event, marked as complete: it has all changes since the start of the span.
    pub(crate) fn completed(&self) -> Self {
        let mut complete = self.clone();
        complete.set_field(b"complete", b"true");
        complete
    }

    /// Returns the event without the mark of a complete one, so that it can be added to the start of its span.
    pub(crate) fn unmarked(&self) -> Self {
        let mut unmarked = self.clone();
        unmarked.fields.retain(|(key, _)| **key != *b"complete");
        unmarked
    }

    /// Writes the merged event.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let known = |key: &[u8]| ORDER.iter().position(|one| *one == key);
        let (mut before, mut after): (Vec<_>, Vec<_>) = self
            .fields
            .iter()
            .partition(|(key, _)| known(key).is_some_and(|place| place <= STATE_PLACE));
        before.sort_by_key(|(key, _)| known(key));
        after.sort_by_key(|(key, _)| known(key).unwrap_or(usize::MAX));
        for (key, value) in before {
            member(out, key, value);
        }
        self.write_attributes(out);
        for (key, value) in after {
            member(out, key, value);
        }
        self.events.write("events", out);
        self.links.write("links", out);
        if !self.cut.is_empty() {
            field(out, "cut");
            out.push(b'[');
            out.extend_from_slice(&self.cut.join(b",".as_slice()));
            if self.has_more_cuts {
                out.extend_from_slice(b",\"...\"");
            }
            out.push(b']');
        }
        out.push(b'}');
    }

    fn write_attributes(&self, out: &mut Vec<u8>) {
        if self.attributes.is_empty() {
            return;
        }
        let mut attributes: Vec<_> = self.attributes.iter().collect();
        attributes.sort_unstable_by_key(|(_, attribute)| attribute.place);
        field(out, "attributes");
        out.push(b'{');
        for (key, attribute) in &attributes {
            member(out, key, &attribute.value);
        }
        out.push(b'}');
        let types = attributes
            .iter()
            .filter_map(|(key, attribute)| Some((key, attribute.kind.as_deref()?)));
        let types: Vec<_> = types.collect();
        if !types.is_empty() {
            field(out, "attributeTypes");
            out.push(b'{');
            for (key, kind) in types {
                member(out, key, kind);
            }
            out.push(b'}');
        }
    }

    fn set_field(&mut self, key: &[u8], value: &[u8]) {
        // A new value counts as cut only if its own event lists it.
        match key {
            b"name" => self.forget_cut(|path| path == b"\"name\""),
            b"status" => self.forget_cut(|path| path == b"\"status.message\""),
            b"awaiting" => self.forget_cut(|path| path == b"\"awaiting.name\""),
            b"panic" => self.forget_cut(|path| path.starts_with(b"\"panic.")),
            _ => {}
        }
        if let Some((_, known)) = self.fields.iter_mut().find(|(one, _)| **one == *key) {
            self.size = self.size - known.len() + value.len();
            *known = value.into();
        } else {
            self.size += key.len() + value.len() + MEMBER_BYTES;
            self.fields.push((key.into(), value.into()));
        }
    }

    fn set_attributes(&mut self, object: &[u8]) {
        for (key, value) in fields(object) {
            let path = [b"\"attributes.", key, b"\""].concat();
            self.forget_cut(|cut| cut == path);
            let place = self.attributes.len();
            if let Some(known) = self.attributes.get_mut(key) {
                let kind = known.kind.take().map_or(0, |kind| kind.len());
                self.size = self.size - kind - known.value.len() + value.len();
                known.value = value.into();
            } else {
                self.size += key.len() + value.len() + MEMBER_BYTES;
                let value = value.into();
                let kind = None;
                self.attributes
                    .insert(key.into(), Attribute { place, value, kind });
            }
        }
    }

    fn set_types(&mut self, object: &[u8]) {
        for (key, kind) in fields(object) {
            if let Some(known) = self.attributes.get_mut(key) {
                self.size += kind.len();
                known.kind = Some(kind.into());
            }
        }
    }

    /// Adds the path of a part that was cut. `before` has the numbers of events and links merged before those of the
    /// path's own event.
    fn add_cut(&mut self, path: &[u8], (events, links): (usize, usize)) {
        if path == b"\"...\"" {
            self.has_more_cuts = true;
            return;
        }
        let moved = moved(path, b"\"events[", events).or_else(|| moved(path, b"\"links[", links));
        let path = moved.as_deref().unwrap_or(path);
        if self.cut.iter().any(|known| **known == *path) {
            return;
        }
        if self.cut.len() >= CUT_PATHS_MAX {
            self.has_more_cuts = true;
            return;
        }
        self.size += path.len();
        self.cut.push(path.into());
    }

    fn forget_cut(&mut self, is_gone: impl Fn(&[u8]) -> bool) {
        let size = &mut self.size;
        self.cut.retain(|path| {
            let stays = !is_gone(path);
            if !stays {
                *size -= path.len();
            }
            stays
        });
    }
}

/// The index in [`ORDER`] of the field that marks a complete event.
const COMPLETE_PLACE: usize = 4;
/// The index in [`ORDER`] of the last field that comes before the attributes.
const STATE_PLACE: usize = 7;

impl RawList {
    /// Appends the elements of an array. Returns the number of bytes added.
    fn append(&mut self, array: &[u8]) -> usize {
        let before = self.text.len();
        for element in elements(array) {
            if self.len > 0 {
                self.text.push(b',');
            }
            self.text.extend_from_slice(element);
            self.len += 1;
        }
        self.text.len() - before
    }

    fn write(&self, key: &str, out: &mut Vec<u8>) {
        if self.len > 0 {
            field(out, key);
            out.push(b'[');
            out.extend_from_slice(&self.text);
            out.push(b']');
        }
    }
}

/// Returns the path of a list's element after `count` elements were inserted before it. Returns `None` if `path` is not
/// within `list`.
fn moved(path: &[u8], list: &[u8], count: usize) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(list)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (index, rest) = rest.split_at_checked(digits)?;
    let index: usize = std::str::from_utf8(index).ok()?.parse().ok()?;
    let index = index.saturating_add(count).to_string();
    Some([list, index.as_bytes(), rest].concat())
}

/// Appends a member of an object. An opening brace at the end of `out` means that this is the first member, because no
/// member ends with `{`.
fn member(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(if out.last() == Some(&b'{') {
        b"\"".as_slice()
    } else {
        b",\""
    });
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests;
