//! Writes the parts of an event: ids, texts, attributes, links, events within a span. The other writers of this folder
//! build whole events from these parts. The code is hand-written because it is the hot path of the worker thread: it
//! copies fixed keys, and writes numbers and escapes in place. The usual path allocates nothing. Pure.

use crate::{
    span::{
        event::SpanKind,
        json::{
            fields::{EndCause, EndStatus, Link, PanicFields, SpanFields, TimedEvent},
            primitives::{double, escape, field, integer, string},
            repeated_keys::{KeySet, last_of_each_key},
            size_limits::{
                ATTRIBUTES_MAX, CUT_PATHS_MAX, EVENT_BYTES_MAX, RESERVE, VALUE_BYTES_MAX, clip,
                clip_head,
            },
            value::{Pairs, Value, type_lost_in_json},
        },
    },
    util::{hex, time::Timestamp},
    wire::frame::number,
};

pub(super) struct JsonWriter<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) start: usize,
    pub(super) cut: Vec<u8>,
    pub(super) cut_paths: usize,
}

impl<'o> JsonWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            cut: Vec::new(),
            cut_paths: 0,
        }
    }

    #[inline]
    pub(super) fn raw(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    #[inline]
    pub(super) fn key(&mut self, key: &str) {
        field(self.out, key);
    }

    #[inline]
    pub(super) fn written(&self) -> usize {
        self.out.len() - self.start
    }

    /// Returns whether this many bytes still fit before the bytes that [`RESERVE`] keeps free.
    pub(super) fn fits(&self, size: usize) -> bool {
        self.written() + size <= EVENT_BYTES_MAX - RESERVE
    }

    /// Records in `cut` that the part at this path was cut or left out.
    pub(super) fn cut(&mut self, path: &[&str]) {
        self.cut_paths += 1;
        if self.cut_paths > CUT_PATHS_MAX {
            return;
        }
        if !self.cut.is_empty() {
            self.cut.push(b',');
        }
        self.cut.push(b'"');
        for part in path {
            // People read these paths: a very long key is shortened to its beginning.
            let (part, _) = clip(part, 64);
            escape(&mut self.cut, part);
        }
        self.cut.push(b'"');
    }

    #[inline]
    pub(super) fn text(&mut self, key: &str, opening: &'static [u8], value: &str) {
        let (value, cut) = clip_head(value);
        self.raw(opening);
        escape(self.out, value);
        self.out.push(b'"');
        if cut {
            self.cut(&[key]);
        }
    }

    #[inline]
    pub(super) fn time(&mut self, opening: &'static [u8], time: Timestamp) {
        self.raw(opening);
        time.write(self.out);
        self.out.push(b'"');
    }

    #[inline]
    pub(super) fn ids(&mut self, trace_id: [u8; 16], span_id: [u8; 8]) {
        self.raw(b",\"traceId\":\"");
        hex::push(self.out, &trace_id);
        self.raw(b"\",\"spanId\":\"");
        hex::push(self.out, &span_id);
        self.raw(b"\"");
    }

    #[inline]
    pub(super) fn parent(&mut self, parent: Option<[u8; 8]>) {
        match &parent {
            None => self.raw(b",\"parentSpanId\":null"),
            Some(parent) => {
                self.raw(b",\"parentSpanId\":\"");
                hex::push(self.out, parent);
                self.raw(b"\"");
            }
        }
    }

    #[inline]
    pub(super) fn identity(&mut self, span: &SpanFields<'_>) {
        self.ids(span.trace_id, span.span_id);
        self.parent(span.parent);
        self.descriptors(span);
    }

    /// Writes the common fields of spans of one template.
    #[inline]
    pub(super) fn descriptors(&mut self, span: &SpanFields<'_>) {
        self.text("name", opening!("name"), span.name);
        self.raw(kind_field(span.kind));
        self.text("process", opening!("process"), span.process);
        self.text("service", opening!("service"), span.service);
        if let Some(scope) = span.scope {
            self.text("scope", opening!("scope"), scope);
        }
    }

    pub(super) fn status(&mut self, status: &EndStatus<'_>) {
        match status {
            EndStatus::Unset => self.raw(b",\"status\":{\"code\":\"OK\"}"),
            EndStatus::Ok => self.raw(b",\"status\":{\"code\":\"OK\",\"explicit\":true}"),
            EndStatus::Error(message) if message.is_empty() => {
                self.raw(b",\"status\":{\"code\":\"ERROR\"}");
            }
            EndStatus::Error(message) => {
                let (message, cut) = clip_head(message);
                self.raw(b",\"status\":{\"code\":\"ERROR\",\"message\":");
                string(self.out, message);
                self.out.push(b'}');
                if cut {
                    self.cut(&["status.message"]);
                }
            }
        }
    }

    /// Writes the cause of a span's end, unless the span ended because its work was done. The cause comes before the
    /// attributes, so that there is always room for it.
    #[inline]
    pub(super) fn reason(&mut self, reason: &EndCause<'_>) {
        match reason {
            EndCause::Done => {}
            EndCause::Cancelled => self.raw(b",\"cancelled\":true"),
            EndCause::Panicked(panic) => self.panic(panic),
        }
    }

    #[cold]
    fn panic(&mut self, panic: &PanicFields<'_>) {
        self.raw(b",\"panicked\":true");
        self.panic_details(panic);
    }

    /// Writes the known details of a panic, if there are any.
    pub(super) fn panic_details(&mut self, panic: &PanicFields<'_>) {
        if *panic == PanicFields::default() {
            return;
        }
        self.raw(b",\"panic\":{");
        for (key, path, value) in [
            ("message", "panic.message", &panic.message),
            ("location", "panic.location", &panic.location),
            ("thread", "panic.thread", &panic.thread),
        ] {
            let Some(value) = value else { continue };
            let (value, cut) = clip_head(value);
            self.member_key(key);
            string(self.out, value);
            if cut {
                self.cut(&[path]);
            }
        }
        self.out.push(b'}');
    }

    /// Writes the key of an object's member, after a comma unless it is the first.
    fn member_key(&mut self, key: &str) {
        // No member ends with `{`. If the output does, this is the first member.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        string(self.out, key);
        self.out.push(b':');
    }

    /// Writes the object, then the types that JSON cannot express. Returns the keys if no key is repeated and there are
    /// no such types.
    pub(super) fn attributes(&mut self, key: &str, pairs: &Pairs<'_>) -> Option<KeySet> {
        self.key(key);
        let keys = KeySet::of(pairs);
        let types = self.object(key, pairs, keys.as_ref());
        self.types(&types);
        keys.filter(|_| types.is_empty())
    }

    pub(super) fn types(&mut self, types: &[u8]) {
        if !types.is_empty() {
            self.raw(b",\"attributeTypes\":{");
            self.raw(types);
            self.out.push(b'}');
        }
    }

    /// Writes the object. Returns the members of `attributeTypes`: the types that JSON cannot express. `keys` is `None`
    /// if a key may be repeated.
    pub(super) fn object(
        &mut self,
        path: &str,
        pairs: &Pairs<'_>,
        keys: Option<&KeySet>,
    ) -> Vec<u8> {
        let mut types = Vec::new();
        self.out.push(b'{');
        let has_more = if keys.is_none() {
            let mut members = last_of_each_key(pairs);
            for (key, value) in members.by_ref().take(ATTRIBUTES_MAX) {
                self.member(path, key, value, &mut types);
            }
            members.next().is_some()
        } else {
            for (key, value) in pairs.iter().take(ATTRIBUTES_MAX) {
                self.member(path, key, value, &mut types);
            }
            pairs.len() > ATTRIBUTES_MAX
        };
        if has_more {
            self.cut(&[path, ".*"]);
        }
        self.out.push(b'}');
        types
    }

    /// Writes one member of an object, unless it does not fit.
    pub(super) fn member(&mut self, path: &str, key: &str, value: &Value<'_>, types: &mut Vec<u8>) {
        let (key, key_cut) = clip(key, VALUE_BYTES_MAX);
        let before = self.out.len();
        // No member ends with `{`. If the output does, this is the first member.
        let is_first = self.out.last() == Some(&b'{');
        self.raw(if is_first { b"\"" } else { b",\"" });
        escape(self.out, key);
        self.raw(b"\":");
        let key_size = self.out.len() - before;
        let cut = self.value(value) || key_cut;
        let kind = type_lost_in_json(value);
        // The key may be written among the types as well.
        let type_size = kind.map_or(0, |kind| key_size + kind.len() + 4);
        if !self.fits(types.len() + type_size) {
            self.out.truncate(before);
            self.cut(&[path, ".", key]);
            return;
        }
        if cut {
            self.cut(&[path, ".", key]);
        }
        if let Some(kind) = kind {
            if !types.is_empty() {
                types.push(b',');
            }
            string(types, key);
            types.extend_from_slice(b":\"");
            types.extend_from_slice(kind.as_bytes());
            types.push(b'"');
        }
    }

    /// Writes a value. Returns whether it was cut.
    pub(super) fn value(&mut self, value: &Value<'_>) -> bool {
        match value {
            #[cfg(feature = "otlp")]
            Value::Null => self.raw(b"null"),
            Value::Bool(value) => self.raw(if *value { b"true" } else { b"false" }),
            Value::Int(value) => integer(self.out, *value),
            Value::Double(value) => double(self.out, *value),
            Value::Text(value) => {
                let (value, cut) = clip(value, VALUE_BYTES_MAX);
                string(self.out, value);
                return cut;
            }
            Value::Owned(value) => {
                let (value, cut) = clip(value, VALUE_BYTES_MAX);
                string(self.out, value);
                return cut;
            }
            Value::Array(values, cut) => return self.array(values) || *cut,
            Value::Bytes(bytes) => {
                let (bytes, rest) = bytes.split_at(bytes.len().min(VALUE_BYTES_MAX / 2));
                string(self.out, &hex::encode(bytes));
                return !rest.is_empty();
            }
            Value::Map(pairs, cut) => return self.map(pairs) || *cut,
        }
        false
    }

    pub(super) fn array(&mut self, values: &[Value<'_>]) -> bool {
        let mut cut = false;
        let start = self.out.len();
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            // An array is one value, so it has the bound of one value.
            if self.out.len() - start > VALUE_BYTES_MAX {
                cut = true;
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            cut |= self.value(value);
        }
        self.out.push(b']');
        cut
    }

    /// Writes the map as an object. Returns whether it was cut.
    fn map(&mut self, pairs: &[(&str, Value<'_>)]) -> bool {
        let mut cut = false;
        let start = self.out.len();
        self.out.push(b'{');
        for (index, (key, value)) in pairs.iter().enumerate() {
            // A map is one value, so it has the bound of one value.
            if self.out.len() - start > VALUE_BYTES_MAX {
                cut = true;
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            string(self.out, key);
            self.out.push(b':');
            cut |= self.value(value);
        }
        self.out.push(b'}');
        cut
    }

    pub(super) fn events(&mut self, events: &[TimedEvent<'_>]) {
        let size = |event: &TimedEvent<'_>| event.name.len();
        self.list("events", events, size, |writer, event, path| {
            writer.raw(b"{\"name\":");
            let (name, cut) = clip(&event.name, VALUE_BYTES_MAX);
            string(writer.out, name);
            if cut {
                writer.cut(&[path, ".name"]);
            }
            writer.time(opening!("timestamp"), event.time);
            writer.nested_attributes(path, &event.attributes);
        });
    }

    pub(super) fn links(&mut self, links: &[Link<'_>]) {
        self.list(
            "links",
            links,
            |_| 0,
            |writer, link, path| {
                writer.raw(b"{\"traceId\":\"");
                hex::push(writer.out, &link.trace_id);
                writer.raw(b"\",\"spanId\":\"");
                hex::push(writer.out, &link.span_id);
                writer.raw(b"\"");
                writer.nested_attributes(path, &link.attributes);
            },
        );
    }

    pub(super) fn nested_attributes(&mut self, path: &str, pairs: &Pairs<'_>) {
        self.key("attributes");
        let types = self.object(
            &format!("{path}.attributes"),
            pairs,
            KeySet::of(pairs).as_ref(),
        );
        self.types(&types);
        self.out.push(b'}');
    }

    pub(super) fn list<T>(
        &mut self,
        key: &str,
        items: &[T],
        text_size: impl Fn(&T) -> usize,
        write: impl Fn(&mut Self, &T, &str),
    ) {
        if items.is_empty() {
            return;
        }
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            // An escaped character takes six bytes at most.
            if !self.fits(512 + 6 * text_size(item).min(VALUE_BYTES_MAX)) {
                self.cut(&[key, &format!("[{index}..]")]);
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item, &format!("{key}[{index}]"));
        }
        self.out.push(b']');
    }

    pub(super) fn traits(&mut self, span: &SpanFields<'_>) {
        if span.parent_remote {
            self.raw(b",\"parentRemote\":true");
        }
        if span.unsampled {
            self.raw(b",\"sampled\":false");
        }
        if !span.trace_state.is_empty() {
            self.text("traceState", opening!("traceState"), span.trace_state);
        }
        if let Some(version) = span.scope_version {
            self.text("scopeVersion", opening!("scopeVersion"), version);
        }
        if let Some(received) = span.received {
            self.time(opening!("receivedTimestamp"), received);
        }
    }

    /// Writes how many attributes, events and links the SDK's limits dropped.
    pub(super) fn dropped(&mut self, [attributes, events, links]: [u32; 3]) {
        if attributes > 0 || events > 0 || links > 0 {
            self.raw(b",\"dropped\":{\"attributes\":");
            number(self.out, attributes.into());
            self.raw(b",\"events\":");
            number(self.out, events.into());
            self.raw(b",\"links\":");
            number(self.out, links.into());
            self.out.push(b'}');
        }
    }

    pub(super) fn end(mut self, truncated: bool, durable: bool) {
        if truncated {
            self.cut(&["*"]);
        }
        self.finish(durable);
    }

    pub(super) fn finish(self, durable: bool) {
        if !self.cut.is_empty() {
            self.out.extend_from_slice(b",\"cut\":[");
            self.out.extend_from_slice(&self.cut);
            if self.cut_paths > CUT_PATHS_MAX {
                self.out.extend_from_slice(b",\"...\"");
            }
            self.out.push(b']');
        }
        if durable {
            self.out.extend_from_slice(b",\"durable\":true");
        }
        self.out.push(b'}');
    }
}

fn kind_field(kind: SpanKind) -> &'static [u8] {
    match kind {
        SpanKind::Internal => b",\"kind\":\"INTERNAL\"",
        SpanKind::Server => b",\"kind\":\"SERVER\"",
        SpanKind::Client => b",\"kind\":\"CLIENT\"",
        SpanKind::Producer => b",\"kind\":\"PRODUCER\"",
        SpanKind::Consumer => b",\"kind\":\"CONSUMER\"",
    }
}

/// The wire name of a span kind.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    }
}

/// The span kind of a wire name.
pub(crate) fn kind_of_name(name: &str) -> Option<SpanKind> {
    match name {
        "INTERNAL" => Some(SpanKind::Internal),
        "SERVER" => Some(SpanKind::Server),
        "CLIENT" => Some(SpanKind::Client),
        "PRODUCER" => Some(SpanKind::Producer),
        "CONSUMER" => Some(SpanKind::Consumer),
        _ => None,
    }
}
