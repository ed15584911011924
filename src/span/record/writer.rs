//! Appends the parts of a span to a record: texts, attributes, links, events. It runs on the host's threads, inside
//! `on_start` and `on_end`, so it never allocates on the usual path, never waits and never panics. `None` means that
//! the buffer is full.

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, Value as OtelValue,
    trace::{Event, Link as OtelLink, SpanContext, Status as OtelStatus, TraceState},
};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::SlotGuard,
        ending::{self, Ending},
        json::clip,
        record::layout::{
            ARRAY_BYTES_MAX, ARRAY_CUT, CLOSING, DROPPED_BEFORE_READY, HAS_SCOPE, HAS_STATE,
            HAS_VERSION, PANIC_LOCATION, PANIC_MESSAGE, PANIC_THREAD, PANICKED, PartCounts,
            RECORD_BYTES_MAX, REMEMBERED, REMEMBERED_BYTES_MAX, SHORT_TEXT_BYTES_MAX,
            TEXT_BYTES_MAX, TRUNCATED, length_of, nanos, pair_head, put, table_flag,
        },
    },
};

/// Writes the parts of one record. A writer that is passed by value stays in registers, so rare parts are written
/// [out of line](RecordWriter::out_of_line).
#[derive(Default)]
pub(in crate::span) struct RecordWriter<'a> {
    pub(in crate::span) buf: WriteBuf<'a>,
    /// The bytes that were free at the beginning.
    pub(in crate::span) free: usize,
    /// [`TRUNCATED`] or nothing.
    pub(in crate::span) truncated: u8,
}

impl<'a> RecordWriter<'a> {
    #[inline]
    pub(in crate::span) fn new(buf: WriteBuf<'a>) -> Self {
        let free = buf.remaining();
        Self {
            buf,
            free,
            truncated: 0,
        }
    }

    /// Writes a rare part in a function that is never inlined, so that the usual path stays in registers.
    #[inline]
    pub(in crate::span) fn out_of_line<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let (writer, written) = std::mem::take(self).never_inlined(write)?;
        *self = writer;
        Some(written)
    }

    #[inline(never)]
    pub(in crate::span) fn never_inlined<T>(
        mut self,
        write: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<(Self, T)> {
        let written = write(&mut self)?;
        Some((self, written))
    }

    #[inline]
    pub(in crate::span) fn written(&self) -> usize {
        self.free - self.buf.remaining()
    }

    #[inline]
    pub(in crate::span) fn text(&mut self, text: &str) -> Option<()> {
        if text.len() > TEXT_BYTES_MAX {
            return self.out_of_line(|writer| writer.clipped_text(text));
        }
        self.whole_text(text)
    }

    pub(in crate::span) fn clipped_text(&mut self, text: &str) -> Option<()> {
        self.whole_text(clip(text, TEXT_BYTES_MAX).0)
    }

    #[inline]
    pub(in crate::span) fn whole_text(&mut self, text: &str) -> Option<()> {
        *self.buf.reserve_array()? = length_of(text);
        self.buf.put_str(text)
    }

    /// Writes a short text. If it is cut, the event's `cut` field has `*` instead of the text's name.
    pub(in crate::span) fn short_text(&mut self, text: &str) -> Option<()> {
        let (text, cut) = clip(text, SHORT_TEXT_BYTES_MAX);
        if cut {
            self.truncated = TRUNCATED;
        }
        self.text(text)
    }

    /// Writes the scope and its version. An empty version is not written.
    #[inline]
    pub(in crate::span) fn scope(&mut self, scope: &InstrumentationScope) -> Option<u8> {
        self.text(scope.name())?;
        match scope.version() {
            None | Some("") => Some(HAS_SCOPE),
            Some(version) => {
                self.out_of_line(|writer| writer.short_text(version))?;
                Some(HAS_SCOPE | HAS_VERSION)
            }
        }
    }

    /// Writes a span's scope, trace state, name, attributes and links. Returns the flags of its optional texts, and the
    /// numbers of its attributes and links.
    #[inline(always)]
    pub(in crate::span) fn whole(&mut self, span: &SpanData) -> Option<(u8, PartCounts)> {
        let has =
            self.scope(&span.instrumentation_scope)? | self.trace_state(&span.span_context)?;
        self.text(&span.name)?;
        let counts = self.body(&span.attributes, &span.links)?;
        Some((has, counts))
    }

    #[inline]
    pub(in crate::span) fn trace_state(&mut self, context: &SpanContext) -> Option<u8> {
        // `header` allocates, so it is called only if there is a trace state.
        let state = context.trace_state();
        if *state == TraceState::NONE {
            return Some(0);
        }
        self.out_of_line(|writer| writer.short_text(&state.header()))?;
        Some(HAS_STATE)
    }

    #[inline(always)]
    pub(in crate::span) fn body(
        &mut self,
        attributes: &[KeyValue],
        links: &[OtelLink],
    ) -> Option<PartCounts> {
        // Skipped when empty: most spans have no links, and most ends add no attributes.
        let attributes = if attributes.is_empty() {
            0
        } else {
            self.pairs(attributes)?
        };
        let links = if links.is_empty() {
            0
        } else {
            self.out_of_line(|writer| writer.links(links))?
        };
        Some(PartCounts::new(attributes, links))
    }

    /// Returns the two flags of the record's slot. Frees the slot if the start is large or not complete.
    #[inline(always)]
    pub(in crate::span) fn slot_flags(&self, guard: &SlotGuard<'_>) -> (u8, u8) {
        if self.truncated != 0 || self.written() > REMEMBERED_BYTES_MAX {
            guard.release();
        }
        match guard.table() {
            None => (0, 0),
            Some(table) => (REMEMBERED, table_flag(table)),
        }
    }

    /// Writes as many items as fit into the record's bound. Returns their number.
    pub(in crate::span) fn counted<T>(
        &mut self,
        items: &[T],
        write: impl Fn(&mut Self, &T) -> Option<()>,
    ) -> Option<u32> {
        let mut count = 0;
        for item in items {
            if self.written() > RECORD_BYTES_MAX {
                self.truncated = TRUNCATED;
                break;
            }
            write(self, item)?;
            count += 1;
        }
        Some(count)
    }

    #[inline(always)]
    pub(in crate::span) fn pairs(&mut self, pairs: &[KeyValue]) -> Option<u32> {
        // The free space that remains when the record reaches its bound.
        let least = self.free.saturating_sub(RECORD_BYTES_MAX);
        let mut rest = pairs;
        while let [pair, others @ ..] = rest {
            if self.buf.remaining() < least {
                self.truncated = TRUNCATED;
                break;
            }
            rest = others;
            self.usual_pair(pair.key.as_str(), &pair.value)?;
        }
        u32::try_from(pairs.len() - rest.len()).ok()
    }

    /// Writes a pair. Texts and numbers, the usual values, are written in line.
    #[inline(always)]
    pub(in crate::span) fn usual_pair(&mut self, key: &str, value: &OtelValue) -> Option<()> {
        match value {
            OtelValue::String(text) if is_short(key, text.as_str()) => {
                pair_of_texts(&mut self.buf, key, text.as_str())
            }
            OtelValue::I64(value) if is_short(key, "") => {
                pair_of_number(&mut self.buf, key, b'i', value.to_le_bytes())
            }
            OtelValue::F64(value) if is_short(key, "") => {
                pair_of_number(&mut self.buf, key, b'd', value.to_le_bytes())
            }
            other => self.out_of_line(|writer| writer.pair(key, other)),
        }
    }

    /// Writes a pair of any length and with any value.
    pub(in crate::span) fn pair(&mut self, key: &str, value: &OtelValue) -> Option<()> {
        let (key, _) = clip(key, TEXT_BYTES_MAX);
        match value {
            OtelValue::String(text) => {
                let (text, _) = clip(text.as_str(), TEXT_BYTES_MAX);
                pair_of_texts(&mut self.buf, key, text)
            }
            OtelValue::I64(value) => pair_of_number(&mut self.buf, key, b'i', value.to_le_bytes()),
            OtelValue::F64(value) => pair_of_number(&mut self.buf, key, b'd', value.to_le_bytes()),
            other => {
                *self.buf.reserve_array()? = pair_head(b'v', key, "");
                self.buf.put_slice(key.as_bytes())?;
                self.value(other)
            }
        }
    }

    /// Writes the attributes of an event or a link, after their count: events and links have no head for the count.
    pub(in crate::span) fn counted_pairs(&mut self, pairs: &[KeyValue]) -> Option<()> {
        let count = self.buf.reserve_array()?;
        *count = self.pairs(pairs)?.to_le_bytes();
        Some(())
    }

    pub(in crate::span) fn links(&mut self, links: &[OtelLink]) -> Option<u32> {
        self.counted(links, |writer, link| {
            let context = &link.span_context;
            writer.buf.put_slice(&context.trace_id().to_bytes())?;
            writer.buf.put_slice(&context.span_id().to_bytes())?;
            writer.counted_pairs(&link.attributes)
        })
    }

    /// Writes the fields that only ends have.
    #[inline(always)]
    pub(in crate::span) fn closing(&mut self, span: &SpanData) -> Option<()> {
        let head = self.buf.reserve_array::<CLOSING>()?;
        let status = match &span.status {
            OtelStatus::Unset => 0,
            OtelStatus::Ok => 1,
            OtelStatus::Error { description } => {
                self.text(description)?;
                2
            }
        };
        let status = match ending::of(&span.span_context) {
            Ending::Plain => status,
            Ending::Cancelled => status | DROPPED_BEFORE_READY,
            Ending::Panicked => {
                self.out_of_line(Self::panic)?;
                status | PANICKED
            }
        };
        let events = if span.events.is_empty() {
            0
        } else {
            self.out_of_line(|writer| writer.events(&span.events))?
        };
        let mut rest = WriteBuf::new(head);
        put(&mut rest, [status]);
        put(&mut rest, nanos(span.end_time));
        put(&mut rest, span.events.dropped_count.to_le_bytes());
        put(&mut rest, span.links.dropped_count.to_le_bytes());
        put(&mut rest, events.to_le_bytes());
        Some(())
    }

    /// Writes the known details of the panic that ends the span.
    fn panic(&mut self) -> Option<()> {
        let panic = ending::panic_details();
        let known = self.buf.reserve_array::<1>()?;
        *known = [0];
        for (flag, text) in [
            (
                PANIC_MESSAGE,
                panic.as_ref().and_then(|panic| panic.message.as_deref()),
            ),
            (
                PANIC_LOCATION,
                panic.as_ref().and_then(|panic| panic.location.as_deref()),
            ),
            (
                PANIC_THREAD,
                panic.as_ref().and_then(|panic| panic.thread.as_deref()),
            ),
        ] {
            if let Some(text) = text {
                self.text(text)?;
                *known = [known[0] | flag];
            }
        }
        Some(())
    }

    pub(in crate::span) fn events(&mut self, events: &[Event]) -> Option<u32> {
        self.counted(events, |writer, event| {
            writer.text(&event.name)?;
            writer.buf.put_slice(&nanos(event.timestamp))?;
            writer.counted_pairs(&event.attributes)
        })
    }

    pub(in crate::span) fn value(&mut self, value: &OtelValue) -> Option<()> {
        match value {
            OtelValue::Bool(value) => self.bool(*value),
            OtelValue::I64(value) => self.number(b'i', value.to_le_bytes()),
            OtelValue::F64(value) => self.number(b'd', value.to_le_bytes()),
            OtelValue::String(value) => self.string(value.as_str()),
            OtelValue::Array(Array::Bool(values)) => {
                self.array(values, |writer, value| writer.bool(*value))
            }
            OtelValue::Array(Array::I64(values)) => self.array(values, |writer, value| {
                writer.number(b'i', value.to_le_bytes())
            }),
            OtelValue::Array(Array::F64(values)) => self.array(values, |writer, value| {
                writer.number(b'd', value.to_le_bytes())
            }),
            OtelValue::Array(Array::String(values)) => {
                self.array(values, |writer, value| writer.string(value.as_str()))
            }
            // A kind of value that a later SDK may add is shown as the SDK formats it.
            other => self.string(&other.as_str()),
        }
    }

    pub(in crate::span) fn bool(&mut self, value: bool) -> Option<()> {
        self.buf.put_slice(&[b'b', u8::from(value)])
    }

    pub(in crate::span) fn number(&mut self, kind: u8, value: [u8; 8]) -> Option<()> {
        self.buf.put_slice(&[kind])?;
        self.buf.put_slice(&value)
    }

    pub(in crate::span) fn string(&mut self, value: &str) -> Option<()> {
        self.buf.put_slice(b"s")?;
        self.text(value)
    }

    /// Writes the count, whose top bit means that values were cut off, then the values.
    pub(in crate::span) fn array<T>(
        &mut self,
        values: &[T],
        write: impl Fn(&mut Self, &T) -> Option<()>,
    ) -> Option<()> {
        self.buf.put_slice(b"a")?;
        let start = self.written();
        let slot = self.buf.reserve_array()?;
        let mut count = 0_u32;
        for value in values {
            if self.written() - start > ARRAY_BYTES_MAX {
                count |= ARRAY_CUT;
                break;
            }
            write(self, value)?;
            count += 1;
        }
        *slot = count.to_le_bytes();
        Some(())
    }
}

/// Returns `false` if one of the texts may have to be clipped. One comparison checks both lengths.
#[inline(always)]
fn is_short(key: &str, text: &str) -> bool {
    const POWER_OF_TWO: usize = 1 << TEXT_BYTES_MAX.ilog2();
    (key.len() | text.len()) < POWER_OF_TWO
}

/// Writes a text pair, the most frequent kind: its space is reserved in one step.
#[inline(always)]
fn pair_of_texts(buf: &mut WriteBuf<'_>, key: &str, text: &str) -> Option<()> {
    let mut pair = WriteBuf::new(buf.reserve(8 + key.len() + text.len())?);
    *pair.reserve_array()? = pair_head(b's', key, text);
    pair.put_str(key)?;
    pair.put_str(text)
}

#[inline(always)]
fn pair_of_number(buf: &mut WriteBuf<'_>, key: &str, kind: u8, value: [u8; 8]) -> Option<()> {
    let mut pair = WriteBuf::new(buf.reserve(16 + key.len())?);
    *pair.reserve_array()? = pair_head(kind, key, "");
    *pair.reserve_array()? = value;
    pair.put_str(key)
}
