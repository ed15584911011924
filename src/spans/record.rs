//! Spans on their way from the host's thread to the worker: compact bytes, written without allocation, read back as
//! borrowed fields. Pure. Both sides are of one build, so the format has no version.

use std::time::SystemTime;

use opentelemetry::{
    Array, KeyValue, Value as OtelValue,
    trace::{SpanContext, SpanKind as OtelKind, Status as OtelStatus},
};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    spans::{
        event::{SpanKind, SpanState},
        json::{End, Link, Pairs, Span, SpanMoment, Status, VALUE_BYTES_MAX, Value, clip},
        marks::Mark,
    },
    time::Timestamp,
};

/// Bytes of one record after which further attributes, events and links are left out.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// The longest text of a record: by one character more than the JSON form takes, which then sees that it must cut and
/// says where.
const TEXT_BYTES_MAX: usize = VALUE_BYTES_MAX + 4;
/// The longest trace state, in bytes, which is what W3C asks everyone to carry, and the longest scope version.
const SHORT_TEXT_BYTES_MAX: usize = 512;
/// Bytes of one array after which further values are left out.
const ARRAY_BYTES_MAX: usize = VALUE_BYTES_MAX + 16;

const START: u8 = 1;
const END: u8 = 2;
const END_MARK: u8 = 3;
const HIDE: u8 = 4;
const SHUTDOWN: u8 = 5;
const SETTLE: u8 = 6;
const END_IF_SHOWN: u8 = 7;
const UPDATE: u8 = 8;
const FENCE: u8 = 9;

/// In an array's count: values were cut off.
const ARRAY_CUT: u32 = 1 << 31;

const PARENT_REMOTE: u8 = 1;
const UNSAMPLED: u8 = 2;
const DURABLE: u8 = 4;
const RESTS: u8 = 8;
const CANCELLED: u8 = 16;
const ONCE: u8 = 32;

/// What a span is besides what its data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// A span of the SDK.
    Ordinary,
    /// A span of a workflow, which is told again when that is replayed.
    Workflow(Lasting, Doing),
}

/// Who remembers a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Its engine: it may outlive its process.
    Durable,
    /// Its process alone: when that is gone, so is the workflow.
    Process,
}

/// What a span of a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It works, or holds others that do.
    Works,
    /// It only waits, for a time or an event: that it is there again does not mean that it works.
    Rests,
    /// It ends because its workflow was cancelled.
    Cancelled,
}

impl Nature {
    fn flags(self) -> u8 {
        let Self::Workflow(lasting, doing) = self else {
            return 0;
        };
        let lasting = match lasting {
            Lasting::Durable => DURABLE,
            Lasting::Process => 0,
        };
        let doing = match doing {
            Doing::Works => 0,
            Doing::Rests => RESTS,
            Doing::Cancelled => CANCELLED,
        };
        ONCE | lasting | doing
    }
}

/// What a record says.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Start(Spanned<'a>),
    End(Spanned<'a>, End<'a>),
    /// An end that counts only if the start was shown.
    EndIfShown(Spanned<'a>, End<'a>),
    /// Attributes of an open span changed, or what it does.
    Update(Spanned<'a>, Option<SpanState>, Timestamp),
    /// The end of this span was dropped.
    EndMark(Mark),
    /// The starts of all spans whose marks were taken before this was sent stand before it.
    Settle,
    /// Whoever holds this ticket is told when all that stands before it is stored and visible.
    Fence {
        ticket: u64,
    },
    /// This span is a viewer's own request.
    Hide {
        trace_id: [u8; 16],
        span_id: [u8; 8],
    },
    /// The provider of this source was shut down.
    Shutdown {
        source: u32,
        time: Timestamp,
    },
}

/// A span, where it came from, and when it began.
#[derive(Debug)]
pub(crate) struct Spanned<'a> {
    pub(crate) source: u32,
    /// Whether it is kept only once.
    pub(crate) once: bool,
    /// Whether it only waits, for a time or an event.
    pub(crate) rests: bool,
    cancelled: bool,
    pub(crate) start: Timestamp,
    pub(crate) span: Span<'a>,
}

/// An upper bound of the bytes that [`write_start`] and [`write_end`] write.
pub(crate) fn size(span: &SpanData) -> usize {
    let attributes = |pairs: &[KeyValue]| -> usize {
        4 + pairs
            .iter()
            .map(|pair| 5 + clipped(pair.key.as_str()) + value_size(&pair.value))
            .sum::<usize>()
    };
    let moments: usize = span
        .events
        .iter()
        .map(|event| 12 + clipped(&event.name) + attributes(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| 24 + attributes(&link.attributes))
        .sum();
    let message = match &span.status {
        OtelStatus::Error { description } => clipped(description),
        _ => 0,
    };
    let scope = &span.instrumentation_scope;
    let texts = clipped(&span.name) + clipped(scope.name()) + 2 * SHORT_TEXT_BYTES_MAX;
    let all = 160 + texts + message + attributes(&span.attributes) + moments + links;
    // The writer stops after its bound, by at most one key with an array, and the message still follows.
    all.min(RECORD_BYTES_MAX + 4 * TEXT_BYTES_MAX + 256)
}

pub(crate) fn write_start(out: &mut Vec<u8>, source: u32, span: &SpanData, nature: Nature) {
    let mut writer = Writer::new(out);
    writer.out.push(START);
    writer.head(source, span, nature);
    writer.attributes(&span.attributes);
    writer.links(span);
    writer.finish();
}

pub(crate) fn write_end(out: &mut Vec<u8>, source: u32, span: &SpanData, nature: Nature) {
    write_end_as(END, out, source, span, nature);
}

/// Writes the end of a span that is to be hidden unless its start was shown.
pub(crate) fn write_end_if_shown(out: &mut Vec<u8>, source: u32, span: &SpanData, nature: Nature) {
    write_end_as(END_IF_SHOWN, out, source, span, nature);
}

/// Writes that an open span changed: its attributes are those that did.
pub(crate) fn write_update(
    out: &mut Vec<u8>,
    source: u32,
    span: &SpanData,
    lasting: Lasting,
    state: Option<SpanState>,
) {
    let mut writer = Writer::new(out);
    writer.out.push(UPDATE);
    writer.head(source, span, Nature::Workflow(lasting, Doing::Works));
    writer.attributes(&span.attributes);
    writer.links(span);
    writer.out.push(match state {
        None => 0,
        Some(SpanState::Running) => 1,
        Some(SpanState::Waiting) => 2,
    });
    writer.time(span.end_time);
    writer.finish();
}

fn write_end_as(kind: u8, out: &mut Vec<u8>, source: u32, span: &SpanData, nature: Nature) {
    let mut writer = Writer::new(out);
    writer.out.push(kind);
    writer.head(source, span, nature);
    writer.attributes(&span.attributes);
    writer.links(span);
    writer.time(span.end_time);
    match &span.status {
        OtelStatus::Unset => writer.out.push(0),
        OtelStatus::Ok => writer.out.push(1),
        OtelStatus::Error { description } => {
            writer.out.push(2);
            writer.text(description);
        }
    }
    writer.u32(span.events.dropped_count);
    writer.u32(span.links.dropped_count);
    writer.counted(&span.events, |writer, event| {
        writer.text(&event.name);
        writer.time(event.timestamp);
        writer.attributes(&event.attributes);
    });
    writer.finish();
}

/// Bytes of [`write_end_mark`].
pub(crate) const END_MARK_SIZE: usize = 40;

pub(crate) fn write_end_mark(out: &mut Vec<u8>, mark: &Mark) {
    let mut writer = Writer::new(out);
    writer.out.push(END_MARK);
    writer.out.extend_from_slice(&mark.trace_id);
    writer.out.extend_from_slice(&mark.span_id);
    writer.u64(mark.end.nanos());
}

/// Bytes of [`write_hide`], [`write_shutdown`], [`write_settle`] and [`write_fence`].
pub(crate) const NOTE_SIZE: usize = 32;

pub(crate) fn write_hide(out: &mut Vec<u8>, span: &SpanContext) {
    let mut writer = Writer::new(out);
    writer.out.push(HIDE);
    writer.context(span);
}

pub(crate) fn write_shutdown(out: &mut Vec<u8>, source: u32) {
    let mut writer = Writer::new(out);
    writer.out.push(SHUTDOWN);
    writer.u32(source);
    writer.u64(Timestamp::now().nanos());
}

pub(crate) fn write_settle(out: &mut Vec<u8>) {
    out.push(SETTLE);
}

pub(crate) fn write_fence(out: &mut Vec<u8>, ticket: u64) {
    let mut writer = Writer::new(out);
    writer.out.push(FENCE);
    writer.u64(ticket);
}

/// Whether translating the record needs all that stands before it to be stored.
pub(crate) fn needs_stored(record: &[u8]) -> bool {
    matches!(
        record.first(),
        Some(&(END_MARK | SHUTDOWN | SETTLE | END_IF_SHOWN | UPDATE | FENCE))
    )
}

/// Reads one record; `None` when it is none, which cannot be.
pub(crate) fn read(record: &[u8]) -> Option<Record<'_>> {
    let mut reader = Reader { rest: record };
    match reader.u8()? {
        START => Some(Record::Start(reader.spanned()?)),
        END => {
            let (spanned, end) = reader.ended()?;
            Some(Record::End(spanned, end))
        }
        END_IF_SHOWN => {
            let (spanned, end) = reader.ended()?;
            Some(Record::EndIfShown(spanned, end))
        }
        UPDATE => {
            let spanned = reader.spanned()?;
            let state = match reader.u8()? {
                1 => Some(SpanState::Running),
                2 => Some(SpanState::Waiting),
                _ => None,
            };
            let time = Timestamp::from_nanos(reader.u64()?);
            Some(Record::Update(spanned, state, time))
        }
        END_MARK => Some(Record::EndMark(Mark {
            trace_id: reader.array()?,
            span_id: reader.array()?,
            end: Timestamp::from_nanos(reader.u64()?),
        })),
        SETTLE => Some(Record::Settle),
        FENCE => Some(Record::Fence {
            ticket: reader.u64()?,
        }),
        HIDE => Some(Record::Hide {
            trace_id: reader.array()?,
            span_id: reader.array()?,
        }),
        SHUTDOWN => Some(Record::Shutdown {
            source: reader.u32()?,
            time: Timestamp::from_nanos(reader.u64()?),
        }),
        _ => None,
    }
}

/// The kind as this crate names it.
pub(crate) fn kind_of(kind: &OtelKind) -> SpanKind {
    match kind {
        OtelKind::Server => SpanKind::Server,
        OtelKind::Client => SpanKind::Client,
        OtelKind::Producer => SpanKind::Producer,
        OtelKind::Consumer => SpanKind::Consumer,
        OtelKind::Internal => SpanKind::Internal,
    }
}

fn clipped(text: &str) -> usize {
    text.len().min(TEXT_BYTES_MAX) + 5
}

const fn clipped_max() -> usize {
    TEXT_BYTES_MAX + 5
}

fn value_size(value: &OtelValue) -> usize {
    match value {
        OtelValue::String(text) => clipped(text.as_str()),
        OtelValue::Array(Array::String(texts)) => {
            // The writer stops after its bound, by at most one text.
            let all = texts
                .iter()
                .map(|text| clipped(text.as_str()))
                .sum::<usize>();
            5 + all.min(ARRAY_BYTES_MAX + clipped_max())
        }
        OtelValue::Array(Array::I64(values)) => 5 + (9 * values.len()).min(ARRAY_BYTES_MAX + 9),
        OtelValue::Array(Array::F64(values)) => 5 + (9 * values.len()).min(ARRAY_BYTES_MAX + 9),
        OtelValue::Array(Array::Bool(values)) => 5 + (2 * values.len()).min(ARRAY_BYTES_MAX + 2),
        OtelValue::Bool(_) | OtelValue::I64(_) | OtelValue::F64(_) => 9,
        other => clipped(&other.as_str()),
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    truncated: bool,
}

impl<'o> Writer<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            truncated: false,
        }
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn time(&mut self, time: SystemTime) {
        self.u64(Timestamp::from(time).nanos());
    }

    fn text(&mut self, text: &str) {
        let (text, _) = clip(text, TEXT_BYTES_MAX);
        self.u32(u32::try_from(text.len()).unwrap_or_default());
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A text that need not say where it was cut.
    fn short_text(&mut self, text: &str) {
        let (text, cut) = clip(text, SHORT_TEXT_BYTES_MAX);
        self.truncated |= cut;
        self.text(text);
    }

    fn context(&mut self, context: &SpanContext) {
        self.out.extend_from_slice(&context.trace_id().to_bytes());
        self.out.extend_from_slice(&context.span_id().to_bytes());
    }

    fn head(&mut self, source: u32, span: &SpanData, nature: Nature) {
        self.u32(source);
        self.context(&span.span_context);
        self.out.extend_from_slice(&span.parent_span_id.to_bytes());
        let remote = if span.parent_span_is_remote {
            PARENT_REMOTE
        } else {
            0
        };
        let unsampled = if span.span_context.is_sampled() {
            0
        } else {
            UNSAMPLED
        };
        self.out.push(remote | unsampled | nature.flags());
        self.out.push(kind_of(&span.span_kind) as u8);
        self.time(span.start_time);
        self.text(&span.name);
        let scope = &span.instrumentation_scope;
        self.text(scope.name());
        // An empty version and none are the same to a reader.
        self.short_text(scope.version().unwrap_or_default());
        self.trace_state(&span.span_context);
        self.u32(span.dropped_attributes_count);
    }

    fn trace_state(&mut self, context: &SpanContext) {
        // The header is built by an allocation, so it is asked for only where there is one.
        let state = context.trace_state();
        if *state == opentelemetry::trace::TraceState::NONE {
            self.u32(0);
        } else {
            self.short_text(&state.header());
        }
    }

    fn counted<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        let at = self.out.len();
        self.u32(0);
        let mut count = 0_u32;
        for item in items {
            if self.out.len() - self.start > RECORD_BYTES_MAX {
                self.truncated = true;
                break;
            }
            write(self, item);
            count += 1;
        }
        if let Some(slot) = self.out.get_mut(at..at + 4) {
            slot.copy_from_slice(&count.to_le_bytes());
        }
    }

    fn attributes(&mut self, pairs: &[KeyValue]) {
        self.counted(pairs, |writer, pair| {
            writer.text(pair.key.as_str());
            writer.value(&pair.value);
        });
    }

    fn links(&mut self, span: &SpanData) {
        self.counted(&span.links, |writer, link| {
            writer.context(&link.span_context);
            writer.attributes(&link.attributes);
        });
    }

    fn value(&mut self, value: &OtelValue) {
        match value {
            OtelValue::Bool(value) => self.bool(*value),
            OtelValue::I64(value) => self.int(*value),
            OtelValue::F64(value) => self.double(*value),
            OtelValue::String(value) => self.string(value.as_str()),
            OtelValue::Array(Array::Bool(values)) => {
                self.array(values, |writer, value| writer.bool(*value));
            }
            OtelValue::Array(Array::I64(values)) => {
                self.array(values, |writer, value| writer.int(*value));
            }
            OtelValue::Array(Array::F64(values)) => {
                self.array(values, |writer, value| writer.double(*value));
            }
            OtelValue::Array(Array::String(values)) => {
                self.array(values, |writer, value| writer.string(value.as_str()));
            }
            // A kind of value that a later SDK may add is shown as the SDK writes it.
            other => self.string(&other.as_str()),
        }
    }

    fn bool(&mut self, value: bool) {
        self.out.extend_from_slice(&[b'b', u8::from(value)]);
    }

    fn int(&mut self, value: i64) {
        self.out.push(b'i');
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        self.out.push(b'd');
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn string(&mut self, value: &str) {
        self.out.push(b's');
        self.text(value);
    }

    /// The count, with its top bit for "some were cut off", then the values.
    fn array<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.out.push(b'a');
        let start = self.out.len();
        let at = start;
        self.u32(0);
        let mut count = 0_u32;
        for value in values {
            if self.out.len() - start > ARRAY_BYTES_MAX {
                count |= ARRAY_CUT;
                break;
            }
            write(self, value);
            count += 1;
        }
        if let Some(slot) = self.out.get_mut(at..at + 4) {
            slot.copy_from_slice(&count.to_le_bytes());
        }
    }

    fn finish(self) {
        self.out.push(u8::from(self.truncated));
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        let (text, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    fn spanned(&mut self) -> Option<Spanned<'a>> {
        let source = self.u32()?;
        let trace_id = self.array()?;
        let span_id = self.array()?;
        let parent = self.array()?;
        let flags = self.u8()?;
        let kind = self.kind()?;
        let start = Timestamp::from_nanos(self.u64()?);
        let name = self.text()?;
        let scope = self.text()?;
        let version = self.text()?;
        let trace_state = self.text()?;
        let dropped_attributes = self.u32()?;
        let attributes = self.attributes()?;
        let links = self.links()?;
        let span = Span {
            trace_id,
            span_id,
            parent: (parent != [0; 8]).then_some(parent),
            parent_remote: flags & PARENT_REMOTE != 0,
            unsampled: flags & UNSAMPLED != 0,
            durable: flags & DURABLE != 0,
            name,
            kind,
            process: "",
            service: "",
            scope,
            scope_version: (!version.is_empty()).then_some(version),
            trace_state,
            attributes,
            dropped_attributes,
            links,
            truncated: record_truncated(self.rest),
        };
        Some(Spanned {
            source,
            once: flags & ONCE != 0,
            rests: flags & RESTS != 0,
            cancelled: flags & CANCELLED != 0,
            start,
            span,
        })
    }

    fn ended(&mut self) -> Option<(Spanned<'a>, End<'a>)> {
        let spanned = self.spanned()?;
        let end = self.end()?;
        let cancelled = spanned.cancelled;
        Some((spanned, End { cancelled, ..end }))
    }

    fn kind(&mut self) -> Option<SpanKind> {
        let kinds = [
            SpanKind::Internal,
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Producer,
            SpanKind::Consumer,
        ];
        let byte = self.u8()?;
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }

    fn end(&mut self) -> Option<End<'a>> {
        let end = Timestamp::from_nanos(self.u64()?);
        let status = match self.u8()? {
            0 => Status::Unset,
            1 => Status::Ok,
            _ => Status::Error(self.text()?),
        };
        let dropped_events = self.u32()?;
        let dropped_links = self.u32()?;
        let count = self.u32()?;
        let mut events = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = self.text()?;
            let time = Timestamp::from_nanos(self.u64()?);
            events.push(SpanMoment {
                name,
                time,
                attributes: self.attributes()?,
            });
        }
        Some(End {
            status,
            start: Timestamp::default(),
            end,
            events,
            dropped_events,
            dropped_links,
            cancelled: false,
        })
    }

    fn attributes(&mut self) -> Option<Pairs<'a>> {
        let count = self.u32()?;
        let mut pairs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let key = self.text()?;
            pairs.push((key, self.value()?));
        }
        Some(pairs)
    }

    fn links(&mut self) -> Option<Vec<Link<'a>>> {
        let count = self.u32()?;
        let mut links = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let trace_id = self.array()?;
            let span_id = self.array()?;
            links.push(Link {
                trace_id,
                span_id,
                attributes: self.attributes()?,
            });
        }
        Some(links)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.u8()? {
            b'b' => Some(Value::Bool(self.u8()? != 0)),
            b'i' => Some(Value::Int(i64::from_le_bytes(self.array()?))),
            b'd' => Some(Value::Double(f64::from_le_bytes(self.array()?))),
            b's' => self.text().map(Value::Text),
            b'a' => {
                let count = self.u32()?;
                let values: Option<Vec<Value<'a>>> =
                    (0..count & !ARRAY_CUT).map(|_| self.value()).collect();
                values.map(|values| Value::Array(values, count & ARRAY_CUT != 0))
            }
            _ => None,
        }
    }
}

/// The last byte of a record tells whether its writer left something out.
fn record_truncated(rest: &[u8]) -> bool {
    rest.last() == Some(&1)
}
