//! The delta end: an end that does not repeat the attributes and the scope of its start. `on_end` writes it on the
//! host's thread and never waits there; the worker thread reads it and joins it with the start. The protocol is
//! described in [`span::delta`](crate::span::delta).

use opentelemetry::trace::{SpanContext, SpanId};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::{OccupiedSlot, SentPrefix, SlotKey, StartScope},
        event::SpanKind,
        json::{EndFields, Link, Pairs, SpanFields},
        record::{
            ScopeFields, SpanRecord,
            layout::{
                END_DELTA, PartCounts, TRUNCATED, kind_of, nanos, put, put_halves, table_flag,
                table_of,
            },
            read::RecordReader,
            writer::RecordWriter,
        },
    },
    util::time::Timestamp,
};

/// The fields of a delta end.
#[derive(Debug)]
pub(crate) struct EndDelta<'a> {
    pub(crate) source: u32,
    /// The slot in which the start is remembered.
    pub(crate) slot: usize,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    /// `start` and `scope` are set only if a sampler reported the start, because a sampler knows neither exactly.
    pub(crate) start: Timestamp,
    pub(crate) scope: ScopeFields<'a>,
    pub(crate) name: &'a str,
    pub(crate) added: Pairs<'a>,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) truncated: bool,
    pub(crate) end: EndFields<'a>,
}

impl<'a> EndDelta<'a> {
    /// Returns the complete end, or `None` if `begun` is the start of another span.
    pub(crate) fn join(self, begun: SpanRecord<'a>) -> Option<(SpanRecord<'a>, EndFields<'a>)> {
        let SpanRecord { ref span, .. } = begun;
        if (span.trace_id, span.span_id) != (self.trace_id, self.span_id) {
            return None;
        }
        let (scope, scope_version, start) = match self.scope {
            ScopeFields {
                scope: Some(scope),
                version,
            } => (Some(scope), version, self.start),
            ScopeFields { scope: None, .. } => (span.scope, span.scope_version, begun.start),
        };
        let span = begun.span;
        let mut attributes = span.attributes;
        attributes.extend(self.added);
        let span = SpanFields {
            name: self.name,
            scope,
            scope_version,
            attributes,
            links: self.links,
            truncated: self.truncated,
            ..span
        };
        Some((
            SpanRecord {
                start,
                span,
                ..begun
            },
            self.end,
        ))
    }
}

/// Returns the key that distinguishes a span from other open spans. The start and the end of a span have the same key.
#[inline]
pub(crate) fn slot_key(context: &SpanContext, parent: SpanId, kind: SpanKind) -> SlotKey {
    SlotKey::of(context.trace_id().to_bytes(), context.span_id().to_bytes())
        .with_origin(parent.to_bytes(), kind as u8)
}

/// Returns the key of a span that the SDK copied.
#[inline]
pub(crate) fn slot_key_of(span: &SpanData) -> SlotKey {
    let kind = kind_of(&span.span_kind);
    slot_key(&span.span_context, span.parent_span_id, kind)
}

/// Returns the part of the start that the end need not repeat, for a span that the SDK copied. Returns `None` if there
/// are more attributes than a slot can count, or if the SDK's limits dropped some: the end's attributes may then differ
/// from those of the start.
#[inline]
pub(crate) fn sent_prefix_of(span: &SpanData) -> Option<SentPrefix> {
    let is_whole = span.dropped_attributes_count == 0;
    SentPrefix::new(span.attributes.len(), StartScope::Recorded).filter(|_| is_whole)
}

/// Writes a delta end. Returns `None` if `buf` is too small.
#[inline]
pub(crate) fn write_end_delta(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    (found, sent): (&OccupiedSlot<'_>, SentPrefix),
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.reserve_array()?;
    let (has, start) = match sent.scope {
        StartScope::Recorded => (0, [0; 8]),
        StartScope::Unknown => (
            writer.scope(&span.instrumentation_scope)?,
            nanos(span.start_time),
        ),
    };
    writer.text(&span.name)?;
    let added = span.attributes.get(usize::from(sent.attributes)..)?;
    let counts = if added.is_empty() && span.links.is_empty() {
        PartCounts::NONE
    } else {
        writer.out_of_line(|writer| writer.body(added, &span.links))?
    };
    writer.closing(span)?;
    let parts = DeltaHead {
        source,
        truncated: writer.truncated,
        has: has | table_flag(found.table()),
        counts,
        start,
    };
    parts.write(head, span);
    *buf = writer.buf;
    Some(())
}

/// Reads a delta end. Returns `None` for other records.
#[inline]
pub(crate) fn read_end_delta(record: &[u8]) -> Option<EndDelta<'_>> {
    let (tag, rest) = record.split_first()?;
    let mut reader = RecordReader { rest };
    if *tag == END_DELTA {
        read_parts(&mut reader)
    } else {
        None
    }
}

#[inline]
fn read_parts<'a>(reader: &mut RecordReader<'a>) -> Option<EndDelta<'a>> {
    let [flags, has, _] = reader.array()?;
    let source = reader.u32()?;
    let counts = reader.counts()?;
    let trace_id = reader.array()?;
    let span_id = reader.array()?;
    let start = Timestamp::from_nanos(reader.u64()?);
    Some(EndDelta {
        source,
        slot: SlotKey::of(trace_id, span_id).slot(table_of(has)),
        trace_id,
        span_id,
        start,
        scope: reader.scope(has)?,
        name: reader.text()?,
        added: reader.attributes(counts.attributes())?,
        links: reader.links(counts.links())?,
        truncated: flags & TRUNCATED != 0,
        end: reader.end()?,
    })
}

const DELTA_HEAD: usize = 48;

/// The fields in the head of a delta end, without the ids, which are read from the span.
struct DeltaHead {
    source: u32,
    truncated: u8,
    has: u8,
    counts: PartCounts,
    start: [u8; 8],
}

impl DeltaHead {
    #[inline]
    fn write(&self, head: &mut [u8; DELTA_HEAD], span: &SpanData) {
        let mut rest = WriteBuf::new(head);
        put(&mut rest, [END_DELTA, self.truncated, self.has, 0]);
        put(&mut rest, self.source.to_le_bytes());
        put(&mut rest, self.counts.0.to_le_bytes());
        put_halves(&mut rest, span.span_context.trace_id().to_bytes());
        put(&mut rest, span.span_context.span_id().to_bytes());
        put(&mut rest, self.start);
    }
}
