//! The template of a `started` payload. The common bytes of spans of one scope and name are copied; only ids, values
//! and the time are written. The result must equal the bytes of [`started`](crate::span::json::started). See
//! `encoder::start_templates` for the reason. Pure; the worker thread calls it.

use crate::{
    span::json::{
        derived::end_from_start::StartLayout,
        events::{ATTRIBUTES_OPEN, STARTED, TIMESTAMP},
        fields::SpanFields,
        primitives::{HIGH, SAFE_INTEGER_MAX, byte_marks, control_marks, double, escape, integer},
        repeated_keys::KeySet,
        size_limits::VALUE_BYTES_MAX,
        writer::JsonWriter,
    },
    util::time::Timestamp,
};

/// Redaction can find a secret only in a text that has one of these bytes or a quote.
pub(crate) const SECRET_HINT_BYTES: [u8; 2] = *b"=:";

/// The value of an attribute that is a text or a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScalarValue<'a> {
    /// UTF-8.
    Text(&'a [u8]),
    Int(i64),
    Double(f64),
}

/// The fields, besides the values of attributes, that differ between spans of one template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartIds {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) start: Timestamp,
}

/// The common bytes of the `started` payloads of one template.
#[derive(Debug)]
pub(crate) struct PayloadTemplate {
    /// From the name to the brace that opens the attributes.
    middle: Box<[u8]>,
    /// The bytes before the value of each attribute.
    members: Box<[Box<[u8]>]>,
    traits: Box<[u8]>,
    keys: KeySet,
}

impl PayloadTemplate {
    /// Makes a template from a span. Returns `None` if its payload has parts that a template cannot have.
    pub(crate) fn of(span: &SpanFields<'_>) -> Option<Self> {
        let is_plain = span.links.is_empty()
            && !span.truncated
            && !span.durable
            && span.dropped_attributes == 0
            && span
                .attributes
                .iter()
                .all(|(key, _)| key.len() <= VALUE_BYTES_MAX);
        let keys = KeySet::of(&span.attributes).filter(|_| is_plain)?;
        let mut bytes = Vec::new();
        let mut writer = JsonWriter::new(&mut bytes);
        writer.descriptors(span);
        writer.key("attributes");
        writer.out.push(b'{');
        let middle = writer.written();
        writer.traits(span);
        if !writer.cut.is_empty() {
            return None;
        }
        let traits = bytes.split_off(middle).into_boxed_slice();
        let members = span.attributes.iter().enumerate().map(|(at, (key, _))| {
            let mut member = if at == 0 {
                b"\"".to_vec()
            } else {
                b",\"".to_vec()
            };
            escape(&mut member, key);
            member.extend_from_slice(b"\":");
            member.into_boxed_slice()
        });
        Some(Self {
            members: members.collect(),
            middle: bytes.into_boxed_slice(),
            traits,
            keys,
        })
    }

    /// Writes the start of a span of this template. If a value is missing or cannot be copied verbatim, returns `None`
    /// and writes nothing. `keeps` returns whether redaction leaves a text unchanged; it is called for texts with one
    /// of [`SECRET_HINT_BYTES`].
    pub(crate) fn started<'v>(
        &self,
        out: &mut Vec<u8>,
        ids: &StartIds,
        values: impl Iterator<Item = Option<ScalarValue<'v>>>,
        keeps: impl Fn(&[u8]) -> bool,
    ) -> Option<StartLayout> {
        let before = out.len();
        let layout = self.write(out, ids, values, keeps);
        if layout.is_none() {
            out.truncate(before);
        }
        layout
    }

    #[inline]
    fn write<'v>(
        &self,
        out: &mut Vec<u8>,
        ids: &StartIds,
        mut values: impl Iterator<Item = Option<ScalarValue<'v>>>,
        keeps: impl Fn(&[u8]) -> bool,
    ) -> Option<StartLayout> {
        let mut writer = JsonWriter::new(out);
        writer.raw(STARTED);
        let identity = writer.written();
        writer.ids(ids.trace_id, ids.span_id);
        writer.parent(ids.parent);
        writer.raw(&self.middle);
        // As in `started`, the range of the attributes includes the key "attributes" and its opening brace.
        let attributes = writer.written() - ATTRIBUTES_OPEN;
        for member in &self.members {
            writer.raw(member);
            match values.next()?? {
                ScalarValue::Text(text) if is_verbatim(text, &keeps) => {
                    writer.out.push(b'"');
                    writer.raw(text);
                    writer.out.push(b'"');
                }
                ScalarValue::Int(value) if value.unsigned_abs() <= SAFE_INTEGER_MAX => {
                    integer(writer.out, value);
                }
                ScalarValue::Double(value) if value.is_finite() => double(writer.out, value),
                _ => return None,
            }
        }
        if !writer.fits(0) {
            return None;
        }
        let end = writer.written();
        writer.out.push(b'}');
        writer.time(TIMESTAMP, ids.start);
        let timestamp = end + 1 + TIMESTAMP.len()..writer.written();
        let traits = writer.written();
        writer.raw(&self.traits);
        let layout = StartLayout {
            identity: identity..attributes,
            attributes: attributes..end,
            timestamp,
            traits: traits..writer.written(),
            keys: self.keys,
        };
        writer.finish(false);
        Some(layout)
    }
}

/// Returns whether the text can be copied, because no part of it is escaped, cut or masked.
#[inline]
fn is_verbatim(text: &[u8], keeps: impl Fn(&[u8]) -> bool) -> bool {
    if text.len() > VALUE_BYTES_MAX {
        return false;
    }
    let (mut escapes, mut hints) = (0, 0);
    let mut scan_word = |word: u64| {
        let [equals, colon] = SECRET_HINT_BYTES.map(|byte| byte_marks(word, byte));
        escapes |= control_marks(word) | byte_marks(word, b'"') | byte_marks(word, b'\\');
        hints |= equals | colon;
    };
    let (words, _) = text.as_chunks::<8>();
    if let Some(last) = text.last_chunk::<8>() {
        for word in words.iter().chain([last]) {
            scan_word(u64::from_le_bytes(*word));
        }
    } else {
        let mut word = [b' '; 8];
        for (byte, to) in text.iter().zip(&mut word) {
            *to = *byte;
        }
        scan_word(u64::from_le_bytes(word));
    }
    escapes & HIGH == 0 && (hints & HIGH == 0 || keeps(text))
}
