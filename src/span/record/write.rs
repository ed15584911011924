//! Writes whole records: the start and the end of a span, its updates, and the worker's control records. It runs on the
//! host's threads, and on the worker's thread for control records. It never waits and never panics. Each `write_…`
//! function returns `None` when the buffer is full.
//! [`span::delta`](crate::span::delta) writes the ends that leave out the fields of their start.

use opentelemetry::{
    InstrumentationScope, KeyValue, Value as OtelValue,
    trace::{Link as OtelLink, SpanContext, TraceState},
};
use opentelemetry_sdk::trace::SpanData;

#[cfg(feature = "otlp")]
use crate::span::record::layout::RECEIVED;
use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::SlotGuard,
        dropped_ends::DroppedEnd,
        event::{SpanKind, SpanState},
        record::{
            layout::{
                DROPPED_END, DROPPED_ENDS_FENCE, END, END_IF_SHOWN, FENCE, HIDE, PARENT_REMOTE,
                PROCESS_GONE, PartCounts, RecordHead, SHUTDOWN, START, UPDATE, flags_of, nanos,
                sampled_flag,
            },
            types::{Durability, SpanOrigin, StepActivity},
            writer::RecordWriter,
        },
    },
    util::time::Timestamp,
};

/// Writes the start of a span. Releases the guard's slot, in which the start is remembered for its end, unless
/// the record is small and complete.
#[inline(always)]
pub(crate) fn write_start(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
    guard: &SlotGuard<'_>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array()?;
    let (has, counts) = writer.whole(span)?;
    let (remembered, in_large) = writer.slot_flags(guard);
    let flags = flags_of(span) | origin.flags() | writer.truncated | remembered;
    RecordHead::of(span, source, flags).write(head, START, has | in_large, counts);
    *buf = writer.buf;
    Some(())
}

pub(crate) fn write_end(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
) -> Option<()> {
    write_end_as(END, buf, source, span, origin)
}

/// Writes an end that the worker uses only if readers have the span's start.
pub(crate) fn write_end_if_shown(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
) -> Option<()> {
    write_end_as(END_IF_SHOWN, buf, source, span, origin)
}

/// Writes a change of an open span. `span` has only the attributes that changed.
pub(crate) fn write_update(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    durability: Durability,
    state: Option<SpanState>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array()?;
    let (has, counts) = writer.out_of_line(|writer| writer.whole(span))?;
    let [state_byte, time @ ..] = writer.buf.reserve_array::<9>()?;
    *state_byte = match state {
        None => 0,
        Some(SpanState::Running) => 1,
        Some(SpanState::Waiting) => 2,
    };
    *time = nanos(span.end_time);
    let origin = SpanOrigin::Workflow(durability, StepActivity::Working);
    let flags = flags_of(span) | origin.flags() | writer.truncated;
    RecordHead::of(span, source, flags).write(head, UPDATE, has, counts);
    *buf = writer.buf;
    Some(())
}

#[inline]
fn write_end_as(
    kind: u8,
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array()?;
    let (has, counts) = writer.out_of_line(|writer| writer.whole(span))?;
    writer.closing(span)?;
    let flags = flags_of(span) | origin.flags() | writer.truncated;
    RecordHead::of(span, source, flags).write(head, kind, has, counts);
    *buf = writer.buf;
    Some(())
}

/// The start of a span whose scope, name, attributes and links are already written.
#[derive(Debug)]
pub(crate) struct HandedStartRecord<'a> {
    pub(crate) source: u32,
    pub(crate) context: &'a SpanContext,
    pub(crate) parent: Option<&'a SpanContext>,
    pub(crate) kind: SpanKind,
    pub(crate) start: Timestamp,
    /// The bits of its [`WrittenScope`], or 0.
    pub(crate) has: u8,
    /// The bytes of its [`WrittenScope`], then the bytes that [`write_start_input`] wrote.
    pub(crate) bytes: &'a [u8],
    /// The number of the scope's bytes.
    pub(crate) scope_size: usize,
    pub(crate) counts: PartCounts,
}

/// A scope and its version in the form of a record. A tracer writes them once for all of its spans.
#[derive(Debug)]
pub(crate) struct WrittenScope {
    /// The bits for the head of the record.
    pub(crate) has: u8,
    pub(crate) bytes: Box<[u8]>,
}

impl WrittenScope {
    pub(crate) fn of(scope: &InstrumentationScope) -> Self {
        let lengths = 2 * size_of::<u32>();
        let texts = scope.name().len() + scope.version().map_or(0, str::len);
        let mut bytes = vec![0; lengths + texts];
        let mut writer = RecordWriter::new(WriteBuf::new(&mut bytes));
        // `bytes` has room for both texts in full, and the writer only shortens them. So they fit.
        let has = writer.scope(scope).unwrap_or(0);
        let size = writer.written();
        bytes.truncate(size);
        Self {
            has,
            bytes: bytes.into_boxed_slice(),
        }
    }
}

/// Writes name, attributes and links of a starting span. Calls `see` with each attribute.
#[inline]
pub(crate) fn write_start_input(
    buf: &mut WriteBuf<'_>,
    name: &str,
    (attributes, links): (&[KeyValue], &[OtelLink]),
    mut see: impl FnMut(&str, &OtelValue),
) -> Option<PartCounts> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    writer.text(name)?;
    for pair in attributes {
        let key = pair.key.as_str();
        see(key, &pair.value);
        writer.usual_pair(key, &pair.value)?;
    }
    let links = if links.is_empty() {
        0
    } else {
        writer.out_of_line(|writer| writer.links(links))?
    };
    *buf = writer.buf;
    let attributes = u32::try_from(attributes.len()).ok()?;
    Some(PartCounts::new(attributes, links))
}

/// Writes the start of a span whose parts are already written.
#[inline]
pub(crate) fn write_handed_start(
    buf: &mut WriteBuf<'_>,
    handed: &HandedStartRecord<'_>,
    guard: &SlotGuard<'_>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array()?;
    let has = if *handed.context.trace_state() == TraceState::NONE {
        writer.buf.put_slice(handed.bytes)?;
        handed.has
    } else {
        // The trace state comes between the scope and the name.
        let (scope, input) = handed.bytes.split_at_checked(handed.scope_size)?;
        writer.buf.put_slice(scope)?;
        let has = writer.trace_state(handed.context)?;
        writer.buf.put_slice(input)?;
        handed.has | has
    };
    let (remembered, in_large) = writer.slot_flags(guard);
    let remote = match handed.parent {
        Some(parent) if parent.is_remote() => PARENT_REMOTE,
        _ => 0,
    };
    let head_of = RecordHead {
        source: handed.source,
        flags: remote | sampled_flag(handed.context) | writer.truncated | remembered,
        kind: handed.kind,
        trace_id: handed.context.trace_id().to_bytes(),
        span_id: handed.context.span_id().to_bytes(),
        parent: handed
            .parent
            .map_or([0; 8], |parent| parent.span_id().to_bytes()),
        start: handed.start.nanos().to_le_bytes(),
        dropped_attributes: 0,
    };
    head_of.write(head, START, has | in_large, handed.counts);
    *buf = writer.buf;
    Some(())
}

pub(crate) fn write_dropped_end(buf: &mut WriteBuf<'_>, end: &DroppedEnd) -> Option<()> {
    buf.put_slice(&[DROPPED_END])?;
    buf.put_slice(&end.trace_id)?;
    buf.put_slice(&end.span_id)?;
    buf.put_slice(&end.end.nanos().to_le_bytes())
}

pub(crate) fn write_hide(buf: &mut WriteBuf<'_>, span: &SpanContext) -> Option<()> {
    buf.put_slice(&[HIDE])?;
    buf.put_slice(&span.trace_id().to_bytes())?;
    buf.put_slice(&span.span_id().to_bytes())
}

pub(crate) fn write_shutdown(buf: &mut WriteBuf<'_>, source: u32) -> Option<()> {
    buf.put_slice(&[SHUTDOWN])?;
    buf.put_slice(&source.to_le_bytes())?;
    buf.put_slice(&Timestamp::now().nanos().to_le_bytes())
}

pub(crate) fn write_process_gone(
    buf: &mut WriteBuf<'_>,
    process: &str,
    last_heard: Timestamp,
) -> Option<()> {
    buf.put_slice(&[PROCESS_GONE])?;
    buf.put_slice(&last_heard.nanos().to_le_bytes())?;
    buf.put_slice(&u32::try_from(process.len()).ok()?.to_le_bytes())?;
    buf.put_slice(process.as_bytes())
}

pub(crate) fn write_dropped_ends_fence(buf: &mut WriteBuf<'_>) -> Option<()> {
    buf.put_slice(&[DROPPED_ENDS_FENCE])
}

#[cfg(feature = "otlp")]
pub(crate) fn write_received(buf: &mut WriteBuf<'_>) -> Option<()> {
    buf.put_slice(&[RECEIVED])
}

pub(crate) fn write_fence(buf: &mut WriteBuf<'_>, ack: u64) -> Option<()> {
    buf.put_slice(&[FENCE])?;
    buf.put_slice(&ack.to_le_bytes())
}
