//! Spans on their way from the host's thread to the worker: compact bytes, written without allocation, read back as
//! borrowed fields. Pure. Both sides are of one build, so the format has no version.
//!
//! A record is a head of fixed size, which the compiler writes in a few stores, with texts and values behind it. The end
//! of a span whose start is remembered (see [`lease`](crate::span::delta::slots)) says only what the start did not.

#![expect(
    clippy::inline_always,
    reason = "what a compiler inlines by itself changes with the number of callers, and with it what a span costs by 8 %"
)]

use std::time::SystemTime;

use opentelemetry::{
    Array, KeyValue, Value as OtelValue,
    trace::{
        Event, Link as OtelLink, SpanContext, SpanKind as OtelKind, Status as OtelStatus,
        TraceState,
    },
};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::{OccupiedSlot, SentPrefix, SlotGuard, SlotKey, SlotTable, StartScope},
        dropped_ends::DroppedEnd,
        event::{SpanKind, SpanState},
        json::{
            EndFields, EndStatus, Link, Pairs, SpanFields, TimedEvent, VALUE_BYTES_MAX, Value,
            clip,
            template::{ScalarValue, StartIds},
        },
    },
    util::time::Timestamp,
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
const DROPPED_END: u8 = 3;
const HIDE: u8 = 4;
const SHUTDOWN: u8 = 5;
const DROPPED_ENDS_FENCE: u8 = 6;
const END_IF_SHOWN: u8 = 7;
const UPDATE: u8 = 8;
const END_DELTA: u8 = 9;
const FENCE: u8 = 10;

/// In an array's count: values were cut off.
const ARRAY_CUT: u32 = 1 << 31;

const PARENT_REMOTE: u8 = 1;
const UNSAMPLED: u8 = 2;
const DURABLE: u8 = 4;
const WAITING: u8 = 8;
const CANCELLED: u8 = 16;
const DEDUPLICATED: u8 = 32;
/// The start is remembered for its end.
const REMEMBERED: u8 = 64;
/// Parts were left out.
const TRUNCATED: u8 = 128;

/// Which texts stand behind a head.
const HAS_SCOPE: u8 = 1;
const HAS_VERSION: u8 = 2;
const HAS_STATE: u8 = 4;
/// Beside them: the start is remembered in the [far](Region::Far) region.
const IN_LARGE_TABLE: u8 = 8;

/// The largest start that is remembered for its end.
const REMEMBERED_BYTES_MAX: usize = 1024;

/// What a span is besides what its data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOrigin {
    /// A span of the SDK.
    Sdk,
    /// A span of a workflow, which is told again when that is replayed.
    Workflow(Durability, StepActivity),
}

/// Who remembers a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Its engine: it may outlive its process.
    Durable,
    /// Its process alone: when that is gone, so is the workflow.
    Process,
}

/// What a span of a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepActivity {
    /// It works, or holds others that do.
    Working,
    /// It only waits, for a time or an event: that it is there again does not mean that it works.
    Waiting,
    /// It ends because its workflow was cancelled.
    Cancelled,
}

impl StepActivity {
    fn from_flags(flags: u8) -> Self {
        if flags & WAITING != 0 {
            Self::Waiting
        } else if flags & CANCELLED != 0 {
            Self::Cancelled
        } else {
            Self::Working
        }
    }
}

impl SpanOrigin {
    fn flags(self) -> u8 {
        let Self::Workflow(durability, activity) = self else {
            return 0;
        };
        let durability = match durability {
            Durability::Durable => DURABLE,
            Durability::Process => 0,
        };
        let activity = match activity {
            StepActivity::Working => 0,
            StepActivity::Waiting => WAITING,
            StepActivity::Cancelled => CANCELLED,
        };
        DEDUPLICATED | durability | activity
    }
}

/// What a record says.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Start(SpanRecord<'a>),
    End(SpanRecord<'a>, EndFields<'a>),
    /// An end that counts only if the start was shown.
    EndIfShown(SpanRecord<'a>, EndFields<'a>),
    /// Attributes of an open span changed, or what it does.
    Update(SpanRecord<'a>, Option<SpanState>, Timestamp),
    /// The end of this span was dropped.
    DroppedEnd(DroppedEnd),
    /// The starts of all spans whose marks were taken before this was sent stand before it.
    DroppedEndsFence,
    /// Whoever holds this ticket is told when all that stands before it is stored and visible.
    Fence {
        ack: u64,
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
pub(crate) struct SpanRecord<'a> {
    pub(crate) source: u32,
    /// Whether it is kept only once.
    pub(crate) is_deduplicated: bool,
    pub(crate) activity: StepActivity,
    /// The place in which the record of a start must be remembered for its end.
    pub(crate) slot: Option<usize>,
    pub(crate) start: Timestamp,
    pub(crate) span: SpanFields<'a>,
}

/// The instrumentation scope, as far as a record says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeFields<'a> {
    pub(crate) scope: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

/// What the end of a span says beyond its start.
#[derive(Debug)]
pub(crate) struct EndDelta<'a> {
    pub(crate) source: u32,
    /// The place in which the start is remembered.
    pub(crate) slot: usize,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    /// These two when the start did not say them exactly.
    pub(crate) start: Timestamp,
    pub(crate) scope: ScopeFields<'a>,
    pub(crate) name: &'a str,
    pub(crate) added: Pairs<'a>,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) truncated: bool,
    pub(crate) end: EndFields<'a>,
}

impl<'a> EndDelta<'a> {
    /// The whole end; `None` when this is not the start of the same span.
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

/// Writes the start of a span. The place goes back unless the record is small and whole.
#[inline(always)]
pub(crate) fn write_start(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
    guard: &SlotGuard<'_>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.chunk()?;
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

/// Writes the end of a span that is to be hidden unless its start was shown.
pub(crate) fn write_end_if_shown(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    origin: SpanOrigin,
) -> Option<()> {
    write_end_as(END_IF_SHOWN, buf, source, span, origin)
}

/// Writes that an open span changed: its attributes are those that did.
pub(crate) fn write_update(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    durability: Durability,
    state: Option<SpanState>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.chunk()?;
    let (has, counts) = writer.out_of_line(|writer| writer.whole(span))?;
    let [state_byte, time @ ..] = writer.buf.chunk::<9>()?;
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
    let head = writer.buf.chunk()?;
    let (has, counts) = writer.out_of_line(|writer| writer.whole(span))?;
    writer.closing(span)?;
    let flags = flags_of(span) | origin.flags() | writer.truncated;
    RecordHead::of(span, source, flags).write(head, kind, has, counts);
    *buf = writer.buf;
    Some(())
}

/// The start of a span of which a sampler saw the rest.
#[derive(Debug)]
pub(crate) struct SampledStart<'a> {
    pub(crate) source: u32,
    pub(crate) context: &'a SpanContext,
    pub(crate) parent: Option<&'a SpanContext>,
    pub(crate) kind: SpanKind,
    pub(crate) start: Timestamp,
    /// What [`write_peeked`] wrote.
    pub(crate) input: &'a [u8],
    pub(crate) counts: PartCounts,
}

/// Writes what a sampler sees of a span.
#[inline]
pub(crate) fn write_sampler_input(
    buf: &mut WriteBuf<'_>,
    name: &str,
    attributes: &[KeyValue],
    links: &[OtelLink],
) -> Option<PartCounts> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    writer.text(name)?;
    let counts = writer.body(attributes, links)?;
    *buf = writer.buf;
    Some(counts)
}

/// Writes the start of a span that a sampler saw.
#[inline]
pub(crate) fn write_sampled_start(
    buf: &mut WriteBuf<'_>,
    sampled: &SampledStart<'_>,
    guard: &SlotGuard<'_>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.chunk()?;
    let has = writer.trace_state(sampled.context)?;
    writer.buf.bytes(sampled.input)?;
    let (remembered, in_large) = writer.slot_flags(guard);
    let remote = match sampled.parent {
        Some(parent) if parent.is_remote() => PARENT_REMOTE,
        _ => 0,
    };
    let head_of = RecordHead {
        source: sampled.source,
        flags: remote | sampled_flag(sampled.context) | writer.truncated | remembered,
        kind: sampled.kind,
        trace_id: sampled.context.trace_id().to_bytes(),
        span_id: sampled.context.span_id().to_bytes(),
        parent: sampled
            .parent
            .map_or([0; 8], |parent| parent.span_id().to_bytes()),
        start: sampled.start.nanos().to_le_bytes(),
        dropped_attributes: 0,
    };
    head_of.write(head, START, has | in_large, sampled.counts);
    *buf = writer.buf;
    Some(())
}

/// What tells a span from others that are open.
#[inline]
pub(crate) fn slot_key(context: &SpanContext) -> SlotKey {
    SlotKey::of(context.trace_id().to_bytes(), context.span_id().to_bytes())
}

/// What of a start that the SDK copied is sent, if its end need not repeat that: what the SDK's limits dropped may stand
/// among what was sent.
#[inline]
pub(crate) fn sent_prefix_of(span: &SpanData) -> Option<SentPrefix> {
    let is_whole = span.dropped_attributes_count == 0;
    SentPrefix::new(span.attributes.len(), StartScope::Recorded).filter(|_| is_whole)
}

/// Writes what the end of a span says beyond its start, which is remembered.
#[inline]
pub(crate) fn write_end_delta(
    buf: &mut WriteBuf<'_>,
    source: u32,
    span: &SpanData,
    found: &OccupiedSlot<'_>,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let head = writer.buf.chunk()?;
    let (has, start) = match found.sent.scope {
        StartScope::Recorded => (0, [0; 8]),
        StartScope::Unknown => (writer.scope(span)?, nanos(span.start_time)),
    };
    writer.text(&span.name)?;
    let added = span.attributes.get(usize::from(found.sent.attributes)..)?;
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

pub(crate) fn write_dropped_end(buf: &mut WriteBuf<'_>, end: &DroppedEnd) -> Option<()> {
    buf.bytes(&[DROPPED_END])?;
    buf.bytes(&end.trace_id)?;
    buf.bytes(&end.span_id)?;
    buf.bytes(&end.end.nanos().to_le_bytes())
}

pub(crate) fn write_hide(buf: &mut WriteBuf<'_>, span: &SpanContext) -> Option<()> {
    buf.bytes(&[HIDE])?;
    buf.bytes(&span.trace_id().to_bytes())?;
    buf.bytes(&span.span_id().to_bytes())
}

pub(crate) fn write_shutdown(buf: &mut WriteBuf<'_>, source: u32) -> Option<()> {
    buf.bytes(&[SHUTDOWN])?;
    buf.bytes(&source.to_le_bytes())?;
    buf.bytes(&Timestamp::now().nanos().to_le_bytes())
}

pub(crate) fn write_dropped_ends_fence(buf: &mut WriteBuf<'_>) -> Option<()> {
    buf.bytes(&[DROPPED_ENDS_FENCE])
}

pub(crate) fn write_fence(buf: &mut WriteBuf<'_>, ack: u64) -> Option<()> {
    buf.bytes(&[FENCE])?;
    buf.bytes(&ack.to_le_bytes())
}

/// Whether translating the record needs all that stands before it to be stored.
pub(crate) fn needs_stored(record: &[u8]) -> bool {
    matches!(
        record.first(),
        Some(&(SHUTDOWN | DROPPED_ENDS_FENCE | END_IF_SHOWN | UPDATE | FENCE))
    )
}

/// Reads an end that says only what the start, which is remembered, did not; `None` for other records.
#[inline]
pub(crate) fn read_end_delta(record: &[u8]) -> Option<EndDelta<'_>> {
    let (tag, rest) = record.split_first()?;
    let mut reader = RecordReader { rest };
    if *tag == END_DELTA {
        reader.end_delta()
    } else {
        None
    }
}

/// Reads any other record; `None` when it is none, which cannot be.
pub(crate) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let mut reader = RecordReader { rest: bytes };
    match reader.u8()? {
        START => Some(Record::Start(reader.span()?)),
        END => {
            let (record, end) = reader.ended()?;
            Some(Record::End(record, end))
        }
        END_IF_SHOWN => {
            let (record, end) = reader.ended()?;
            Some(Record::EndIfShown(record, end))
        }
        UPDATE => {
            let record = reader.span()?;
            let state = match reader.u8()? {
                1 => Some(SpanState::Running),
                2 => Some(SpanState::Waiting),
                _ => None,
            };
            let time = Timestamp::from_nanos(reader.u64()?);
            Some(Record::Update(record, state, time))
        }
        DROPPED_END => Some(Record::DroppedEnd(DroppedEnd {
            trace_id: reader.array()?,
            span_id: reader.array()?,
            end: Timestamp::from_nanos(reader.u64()?),
        })),
        DROPPED_ENDS_FENCE => Some(Record::DroppedEndsFence),
        FENCE => Some(Record::Fence { ack: reader.u64()? }),
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

/// The largest record that is outlined, in bytes.
const OUTLINE_BYTES_MAX: usize = 2048;

/// The start of an ordinary span, read as far as it may be like others: no text is looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartOutline<'a> {
    pub(crate) source: u32,
    /// The place in which it must be remembered for its end.
    pub(crate) slot: Option<usize>,
    pub(crate) ids: StartIds,
    /// Flags that differ between spans that are not alike, and the kind.
    pub(crate) traits: [u8; 3],
    /// Scope, version and name, as they stand in the record.
    pub(crate) texts: &'a [u8],
    pub(crate) attributes: u32,
    pairs: &'a [u8],
}

impl<'a> StartOutline<'a> {
    /// `None` for all other records, and for starts that say more.
    #[inline]
    pub(crate) fn of(record: &'a [u8]) -> Option<Self> {
        let mut reader = RecordReader { rest: record };
        let [tag, flags, has, kind] = reader.array()?;
        let is_ordinary = tag == START
            && flags & !(PARENT_REMOTE | UNSAMPLED | REMEMBERED) == 0
            && has & HAS_STATE == 0
            && record.len() <= OUTLINE_BYTES_MAX;
        if !is_ordinary {
            return None;
        }
        let source = reader.u32()?;
        let counts = reader.counts()?;
        let trace_id = reader.array()?;
        let span_id = reader.array()?;
        let parent = reader.array()?;
        let start = Timestamp::from_nanos(reader.u64()?);
        if counts.links() > 0 || reader.u32()? > 0 {
            return None;
        }
        let behind_head = reader.rest;
        for _ in 0..1 + (has & HAS_SCOPE).min(1) + (has & HAS_VERSION).min(1) {
            let length = reader.u32()?;
            reader.bytes(length)?;
        }
        let pairs = reader.rest;
        Some(Self {
            source,
            slot: slot_of(flags, has, trace_id, span_id),
            ids: StartIds {
                trace_id,
                span_id,
                parent: (parent != [0; 8]).then_some(parent),
                start,
            },
            traits: [flags & !REMEMBERED, has & !IN_LARGE_TABLE, kind],
            texts: behind_head.get(..behind_head.len() - pairs.len())?,
            attributes: counts.attributes(),
            pairs,
        })
    }

    /// Its attributes up to the first whose value is not plain.
    #[inline]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'a [u8], ScalarValue<'a>)> + use<'a> {
        let mut reader = RecordReader { rest: self.pairs };
        std::iter::from_fn(move || reader.plain_pair())
    }
}

/// The kind as this crate names it.
#[inline]
pub(crate) fn kind_of(kind: &OtelKind) -> SpanKind {
    match kind {
        OtelKind::Server => SpanKind::Server,
        OtelKind::Client => SpanKind::Client,
        OtelKind::Producer => SpanKind::Producer,
        OtelKind::Consumer => SpanKind::Consumer,
        OtelKind::Internal => SpanKind::Internal,
    }
}

#[inline]
fn nanos(time: SystemTime) -> [u8; 8] {
    Timestamp::from(time).nanos().to_le_bytes()
}

fn flags_of(span: &SpanData) -> u8 {
    let remote = if span.parent_span_is_remote {
        PARENT_REMOTE
    } else {
        0
    };
    remote | sampled_flag(&span.span_context)
}

fn sampled_flag(context: &SpanContext) -> u8 {
    if context.is_sampled() { 0 } else { UNSAMPLED }
}

/// How many attributes and links stand behind a head. One number, because what is stored as two and fetched as one is
/// waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartCounts(u64);

impl PartCounts {
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    fn new(attributes: u32, links: u32) -> Self {
        Self(u64::from(attributes) | u64::from(links) << 32)
    }

    #[inline]
    fn attributes(self) -> u32 {
        let [a0, a1, a2, a3, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a0, a1, a2, a3])
    }

    #[inline]
    fn links(self) -> u32 {
        let [.., l0, l1, l2, l3] = self.0.to_le_bytes();
        u32::from_le_bytes([l0, l1, l2, l3])
    }

    /// What of this is sent to the worker, which the end need not repeat.
    #[inline]
    pub(crate) fn sent(self) -> Option<SentPrefix> {
        SentPrefix::new(self.attributes() as usize, StartScope::Unknown)
    }
}

/// What every span's record says first.
struct RecordHead {
    source: u32,
    flags: u8,
    kind: SpanKind,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: [u8; 8],
    start: [u8; 8],
    dropped_attributes: u32,
}

const HEAD: usize = 60;

impl RecordHead {
    #[inline]
    fn of(span: &SpanData, source: u32, flags: u8) -> Self {
        Self {
            source,
            flags,
            kind: kind_of(&span.span_kind),
            trace_id: span.span_context.trace_id().to_bytes(),
            span_id: span.span_context.span_id().to_bytes(),
            parent: span.parent_span_id.to_bytes(),
            start: nanos(span.start_time),
            dropped_attributes: span.dropped_attributes_count,
        }
    }

    #[inline]
    fn write(&self, head: &mut [u8; HEAD], tag: u8, has: u8, counts: PartCounts) {
        let mut rest = WriteBuf::new(head);
        put(&mut rest, [tag, self.flags, has, self.kind as u8]);
        put(&mut rest, self.source.to_le_bytes());
        put(&mut rest, counts.0.to_le_bytes());
        put_halves(&mut rest, self.trace_id);
        put(&mut rest, self.span_id);
        put(&mut rest, self.parent);
        put(&mut rest, self.start);
        put(&mut rest, self.dropped_attributes.to_le_bytes());
    }
}

const DELTA_HEAD: usize = 48;

/// What stands in the head of a rest besides what its span says.
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

/// Fills the front of a head. Its size is known to the compiler, so nothing is checked when this runs.
#[inline]
fn put<const SIZE: usize>(rest: &mut WriteBuf<'_>, bytes: [u8; SIZE]) {
    if let Some(slot) = rest.chunk() {
        *slot = bytes;
    }
}

/// The same of an id, in the halves that the processor has it in: to fetch whole what was stored in halves a moment ago
/// is waited for.
#[inline]
fn put_halves(rest: &mut WriteBuf<'_>, id: [u8; 16]) {
    let [u0, u1, u2, u3, u4, u5, u6, u7, lower @ ..] = id;
    put(rest, [u0, u1, u2, u3, u4, u5, u6, u7]);
    put(rest, lower);
}

/// What a writer that is handed on by value holds stays in registers: so what is rare is written [aside](Writer::aside).
#[derive(Default)]
struct RecordWriter<'a> {
    buf: WriteBuf<'a>,
    /// What was free before.
    free: usize,
    /// [`TRUNCATED`] or nothing.
    truncated: u8,
}

impl<'a> RecordWriter<'a> {
    #[inline]
    fn new(buf: WriteBuf<'a>) -> Self {
        let free = buf.left();
        Self {
            buf,
            free,
            truncated: 0,
        }
    }

    /// Writes what is rare, out of the way of what is not.
    #[inline]
    fn out_of_line<T>(&mut self, write: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let (writer, written) = std::mem::take(self).never_inlined(write)?;
        *self = writer;
        Some(written)
    }

    #[inline(never)]
    fn never_inlined<T>(mut self, write: impl FnOnce(&mut Self) -> Option<T>) -> Option<(Self, T)> {
        let written = write(&mut self)?;
        Some((self, written))
    }

    #[inline]
    fn written(&self) -> usize {
        self.free - self.buf.left()
    }

    #[inline]
    fn text(&mut self, text: &str) -> Option<()> {
        if text.len() > TEXT_BYTES_MAX {
            return self.out_of_line(|writer| writer.clipped_text(text));
        }
        self.whole_text(text)
    }

    fn clipped_text(&mut self, text: &str) -> Option<()> {
        self.whole_text(clip(text, TEXT_BYTES_MAX).0)
    }

    #[inline]
    fn whole_text(&mut self, text: &str) -> Option<()> {
        *self.buf.chunk()? = length_of(text);
        self.buf.text(text)
    }

    /// A text that need not say where it was cut.
    fn short_text(&mut self, text: &str) -> Option<()> {
        let (text, cut) = clip(text, SHORT_TEXT_BYTES_MAX);
        if cut {
            self.truncated = TRUNCATED;
        }
        self.text(text)
    }

    /// The scope and its version, of which an empty one and none are the same to a reader.
    #[inline]
    fn scope(&mut self, span: &SpanData) -> Option<u8> {
        let scope = &span.instrumentation_scope;
        self.text(scope.name())?;
        match scope.version() {
            None | Some("") => Some(HAS_SCOPE),
            Some(version) => {
                self.out_of_line(|writer| writer.short_text(version))?;
                Some(HAS_SCOPE | HAS_VERSION)
            }
        }
    }

    /// What every record says that says a span whole: which texts it has, and how many attributes and links.
    #[inline(always)]
    fn whole(&mut self, span: &SpanData) -> Option<(u8, PartCounts)> {
        let has = self.scope(span)? | self.trace_state(&span.span_context)?;
        self.text(&span.name)?;
        let counts = self.body(&span.attributes, &span.links)?;
        Some((has, counts))
    }

    #[inline]
    fn trace_state(&mut self, context: &SpanContext) -> Option<u8> {
        // The header is built by an allocation, so it is asked for only where there is one.
        let state = context.trace_state();
        if *state == TraceState::NONE {
            return Some(0);
        }
        self.out_of_line(|writer| writer.short_text(&state.header()))?;
        Some(HAS_STATE)
    }

    #[inline(always)]
    fn body(&mut self, attributes: &[KeyValue], links: &[OtelLink]) -> Option<PartCounts> {
        // Most spans have no links, and most ends add no attributes.
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

    /// What the record says of its lease, which a start that is large or not whole loses.
    #[inline(always)]
    fn slot_flags(&self, guard: &SlotGuard<'_>) -> (u8, u8) {
        if self.truncated != 0 || self.written() > REMEMBERED_BYTES_MAX {
            guard.release();
        }
        match guard.table() {
            None => (0, 0),
            Some(table) => (REMEMBERED, table_flag(table)),
        }
    }

    /// Writes as many as the bound allows.
    fn counted<T>(
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
    fn pairs(&mut self, pairs: &[KeyValue]) -> Option<u32> {
        // What is left where the bound is passed.
        let least = self.free.saturating_sub(RECORD_BYTES_MAX);
        let mut rest = pairs;
        while let [pair, others @ ..] = rest {
            if self.buf.left() < least {
                self.truncated = TRUNCATED;
                break;
            }
            rest = others;
            let key = pair.key.as_str();
            match &pair.value {
                OtelValue::String(text) if key.len() <= TEXT_BYTES_MAX => {
                    let text = text.as_str();
                    if text.len() <= TEXT_BYTES_MAX {
                        pair_of_texts(&mut self.buf, key, text)?;
                    } else {
                        self.out_of_line(|writer| writer.pair(key, &pair.value))?;
                    }
                }
                OtelValue::I64(value) if key.len() <= TEXT_BYTES_MAX => {
                    pair_of_number(&mut self.buf, key, b'i', value.to_le_bytes())?;
                }
                OtelValue::F64(value) if key.len() <= TEXT_BYTES_MAX => {
                    pair_of_number(&mut self.buf, key, b'd', value.to_le_bytes())?;
                }
                other => self.out_of_line(|writer| writer.pair(key, other))?,
            }
        }
        u32::try_from(pairs.len() - rest.len()).ok()
    }

    /// A pair of any length, and with any value.
    fn pair(&mut self, key: &str, value: &OtelValue) -> Option<()> {
        let (key, _) = clip(key, TEXT_BYTES_MAX);
        match value {
            OtelValue::String(text) => {
                let (text, _) = clip(text.as_str(), TEXT_BYTES_MAX);
                pair_of_texts(&mut self.buf, key, text)
            }
            OtelValue::I64(value) => pair_of_number(&mut self.buf, key, b'i', value.to_le_bytes()),
            OtelValue::F64(value) => pair_of_number(&mut self.buf, key, b'd', value.to_le_bytes()),
            other => {
                *self.buf.chunk()? = pair_head(b'v', key, "");
                self.buf.bytes(key.as_bytes())?;
                self.value(other)
            }
        }
    }

    /// The attributes of an event or a link, which have no head to stand in.
    fn counted_pairs(&mut self, pairs: &[KeyValue]) -> Option<()> {
        let count = self.buf.chunk()?;
        *count = self.pairs(pairs)?.to_le_bytes();
        Some(())
    }

    fn links(&mut self, links: &[OtelLink]) -> Option<u32> {
        self.counted(links, |writer, link| {
            let context = &link.span_context;
            writer.buf.bytes(&context.trace_id().to_bytes())?;
            writer.buf.bytes(&context.span_id().to_bytes())?;
            writer.counted_pairs(&link.attributes)
        })
    }

    /// What only ends say.
    #[inline(always)]
    fn closing(&mut self, span: &SpanData) -> Option<()> {
        let head = self.buf.chunk::<CLOSING>()?;
        let status = match &span.status {
            OtelStatus::Unset => 0,
            OtelStatus::Ok => 1,
            OtelStatus::Error { description } => {
                self.text(description)?;
                2
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

    fn events(&mut self, events: &[Event]) -> Option<u32> {
        self.counted(events, |writer, event| {
            writer.text(&event.name)?;
            writer.buf.bytes(&nanos(event.timestamp))?;
            writer.counted_pairs(&event.attributes)
        })
    }

    fn value(&mut self, value: &OtelValue) -> Option<()> {
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
            // A kind of value that a later SDK may add is shown as the SDK writes it.
            other => self.string(&other.as_str()),
        }
    }

    fn bool(&mut self, value: bool) -> Option<()> {
        self.buf.bytes(&[b'b', u8::from(value)])
    }

    fn number(&mut self, kind: u8, value: [u8; 8]) -> Option<()> {
        self.buf.bytes(&[kind])?;
        self.buf.bytes(&value)
    }

    fn string(&mut self, value: &str) -> Option<()> {
        self.buf.bytes(b"s")?;
        self.text(value)
    }

    /// The count, with its top bit for "some were cut off", then the values.
    fn array<T>(
        &mut self,
        values: &[T],
        write: impl Fn(&mut Self, &T) -> Option<()>,
    ) -> Option<()> {
        self.buf.bytes(b"a")?;
        let start = self.written();
        let slot = self.buf.chunk()?;
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

#[inline]
fn table_flag(table: SlotTable) -> u8 {
    match table {
        SlotTable::Small => 0,
        SlotTable::Large => IN_LARGE_TABLE,
    }
}

#[inline]
fn table_of(has: u8) -> SlotTable {
    if has & IN_LARGE_TABLE == 0 {
        SlotTable::Small
    } else {
        SlotTable::Large
    }
}

#[inline]
fn slot_of(flags: u8, has: u8, trace_id: [u8; 16], span_id: [u8; 8]) -> Option<usize> {
    (flags & REMEMBERED != 0).then(|| SlotKey::of(trace_id, span_id).slot(table_of(has)))
}

/// What stands before a pair: the kind of the value and both lengths. Texts are clipped, so the lengths fit.
#[inline]
fn pair_head(kind: u8, key: &str, text: &str) -> [u8; 8] {
    let [key, text] = [key, text].map(|text| text.len() as u64);
    (u64::from(kind) | key << 8 | text << 32).to_le_bytes()
}

/// The most frequent pairs take their room at once.
#[inline]
fn pair_of_texts(buf: &mut WriteBuf<'_>, key: &str, text: &str) -> Option<()> {
    let mut pair = WriteBuf::new(buf.take(8 + key.len() + text.len())?);
    *pair.chunk()? = pair_head(b's', key, text);
    pair.text(key)?;
    pair.text(text)
}

#[inline]
fn pair_of_number(buf: &mut WriteBuf<'_>, key: &str, kind: u8, value: [u8; 8]) -> Option<()> {
    let mut pair = WriteBuf::new(buf.take(16 + key.len())?);
    *pair.chunk()? = pair_head(kind, key, "");
    *pair.chunk()? = value;
    pair.text(key)
}

/// The length of a text that was clipped.
#[inline]
fn length_of(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or_default().to_le_bytes()
}

/// Status (1), end (8), dropped events (4) and links (4), count of events (4).
const CLOSING: usize = 21;

fn span_kind(byte: u8) -> Option<SpanKind> {
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    kinds.into_iter().find(|kind| *kind as u8 == byte)
}

struct RecordReader<'a> {
    rest: &'a [u8],
}

impl<'a> RecordReader<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    #[inline]
    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        self.text_of(length)
    }

    #[inline]
    fn text_of(&mut self, length: u32) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    #[inline]
    fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A pair that [`pair`](Self::pair) reads, without a look into its texts.
    #[inline]
    fn plain_pair(&mut self) -> Option<(&'a [u8], ScalarValue<'a>)> {
        let [kind, k0, k1, k2, t0, t1, t2, t3] = self.array()?;
        let key = u32::from_le_bytes([k0, k1, k2, 0]);
        match kind {
            b's' => {
                let key = self.bytes(key)?;
                let text = self.bytes(u32::from_le_bytes([t0, t1, t2, t3]))?;
                Some((key, ScalarValue::Text(text)))
            }
            b'i' => {
                let value = ScalarValue::Int(i64::from_le_bytes(self.array()?));
                Some((self.bytes(key)?, value))
            }
            b'd' => {
                let value = ScalarValue::Double(f64::from_le_bytes(self.array()?));
                Some((self.bytes(key)?, value))
            }
            _ => None,
        }
    }

    fn span(&mut self) -> Option<SpanRecord<'a>> {
        let [flags, has, kind] = self.array()?;
        let source = self.u32()?;
        let counts = self.counts()?;
        let trace_id = self.array()?;
        let span_id = self.array()?;
        let parent = self.array()?;
        let start = Timestamp::from_nanos(self.u64()?);
        let dropped_attributes = self.u32()?;
        let ScopeFields { scope, version } = self.scope(has)?;
        let trace_state = if has & HAS_STATE == 0 {
            ""
        } else {
            self.text()?
        };
        let name = self.text()?;
        let attributes = self.attributes(counts.attributes())?;
        let links = self.links(counts.links())?;
        let span = SpanFields {
            trace_id,
            span_id,
            parent: (parent != [0; 8]).then_some(parent),
            parent_remote: flags & PARENT_REMOTE != 0,
            unsampled: flags & UNSAMPLED != 0,
            durable: flags & DURABLE != 0,
            name,
            kind: span_kind(kind)?,
            process: "",
            service: "",
            scope,
            scope_version: version,
            trace_state,
            attributes,
            dropped_attributes,
            links,
            truncated: flags & TRUNCATED != 0,
        };
        Some(SpanRecord {
            source,
            is_deduplicated: flags & DEDUPLICATED != 0,
            activity: StepActivity::from_flags(flags),
            slot: slot_of(flags, has, span.trace_id, span.span_id),
            start,
            span,
        })
    }

    #[inline]
    fn end_delta(&mut self) -> Option<EndDelta<'a>> {
        let [flags, has, _] = self.array()?;
        let source = self.u32()?;
        let counts = self.counts()?;
        let trace_id = self.array()?;
        let span_id = self.array()?;
        let start = Timestamp::from_nanos(self.u64()?);
        Some(EndDelta {
            source,
            slot: SlotKey::of(trace_id, span_id).slot(table_of(has)),
            trace_id,
            span_id,
            start,
            scope: self.scope(has)?,
            name: self.text()?,
            added: self.attributes(counts.attributes())?,
            links: self.links(counts.links())?,
            truncated: flags & TRUNCATED != 0,
            end: self.end()?,
        })
    }

    #[inline]
    fn counts(&mut self) -> Option<PartCounts> {
        Some(PartCounts(self.u64()?))
    }

    #[inline]
    fn scope(&mut self, has: u8) -> Option<ScopeFields<'a>> {
        let scope = if has & HAS_SCOPE == 0 {
            None
        } else {
            Some(self.text()?)
        };
        let version = if has & HAS_VERSION == 0 {
            None
        } else {
            Some(self.text()?)
        };
        Some(ScopeFields { scope, version })
    }

    fn ended(&mut self) -> Option<(SpanRecord<'a>, EndFields<'a>)> {
        let record = self.span()?;
        let end = self.end()?;
        let cancelled = record.activity == StepActivity::Cancelled;
        Some((record, EndFields { cancelled, ..end }))
    }

    #[inline]
    fn end(&mut self) -> Option<EndFields<'a>> {
        let status = self.u8()?;
        let end = Timestamp::from_nanos(self.u64()?);
        let dropped_events = self.u32()?;
        let dropped_links = self.u32()?;
        let count = self.u32()?;
        let status = match status {
            0 => EndStatus::Unset,
            1 => EndStatus::Ok,
            _ => EndStatus::Error(self.text()?.into()),
        };
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(TimedEvent {
                name: self.text()?,
                time: Timestamp::from_nanos(self.u64()?),
                attributes: self.counted_attributes()?,
            });
        }
        Some(EndFields {
            status,
            start: Timestamp::default(),
            end,
            events,
            dropped_events,
            dropped_links,
            cancelled: false,
        })
    }

    #[inline]
    fn attributes(&mut self, count: u32) -> Option<Pairs<'a>> {
        // A damaged count must not ask for memory that is not there.
        let mut pairs = Vec::with_capacity((count as usize).min(self.rest.len() / 8));
        for _ in 0..count {
            pairs.push(self.pair()?);
        }
        Some(pairs)
    }

    fn pair(&mut self) -> Option<(&'a str, Value<'a>)> {
        let [kind, k0, k1, k2, t0, t1, t2, t3] = self.array()?;
        let key = u32::from_le_bytes([k0, k1, k2, 0]);
        Some(match kind {
            b's' => {
                // Both stand side by side: one look is quicker than two.
                let text = u32::from_le_bytes([t0, t1, t2, t3]);
                let both = self.text_of(key.checked_add(text)?)?;
                let (key, text) = both.split_at_checked(key as usize)?;
                (key, Value::Text(text))
            }
            b'i' => {
                let value = Value::Int(i64::from_le_bytes(self.array()?));
                (self.text_of(key)?, value)
            }
            b'd' => {
                let value = Value::Double(f64::from_le_bytes(self.array()?));
                (self.text_of(key)?, value)
            }
            b'v' => (self.text_of(key)?, self.value()?),
            _ => return None,
        })
    }

    fn counted_attributes(&mut self) -> Option<Pairs<'a>> {
        let count = self.u32()?;
        self.attributes(count)
    }

    #[inline]
    fn links(&mut self, count: u32) -> Option<Vec<Link<'a>>> {
        let mut links = Vec::new();
        for _ in 0..count {
            links.push(Link {
                trace_id: self.array()?,
                span_id: self.array()?,
                attributes: self.counted_attributes()?,
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
