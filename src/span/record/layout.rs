//! The layout of a record: tags, flags, the heads of fixed size, and the bounds of the parts that follow. The writers
//! and the reader use it; it depends on neither. Host threads and the worker run it; it never allocates.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanKind as OtelKind};
use opentelemetry_sdk::trace::SpanData;

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        delta::slots::{SlotKey, SlotTable},
        event::SpanKind,
        json::VALUE_BYTES_MAX,
    },
    util::time::Timestamp,
};

/// Bytes of one record after which further attributes, events and links are left out.
pub(in crate::span) const RECORD_BYTES_MAX: usize = 256 * 1024;

/// The longest text of a record, in bytes. It is one character longer than the JSON writer keeps, so the JSON writer
/// notices that the text is cut.
pub(in crate::span) const TEXT_BYTES_MAX: usize = VALUE_BYTES_MAX + 4;

/// The longest trace state and the longest scope version, in bytes. W3C requires support for trace states of up to 512
/// characters.
pub(in crate::span) const SHORT_TEXT_BYTES_MAX: usize = 512;

/// Bytes of one array after which further values are left out.
pub(in crate::span) const ARRAY_BYTES_MAX: usize = VALUE_BYTES_MAX + 16;

/// The largest start that the worker remembers for its end, in bytes.
pub(in crate::span) const REMEMBERED_BYTES_MAX: usize = 1024;
pub(in crate::span) const START: u8 = 1;
pub(in crate::span) const END: u8 = 2;
pub(in crate::span) const DROPPED_END: u8 = 3;
pub(in crate::span) const HIDE: u8 = 4;
pub(in crate::span) const SHUTDOWN: u8 = 5;
pub(in crate::span) const DROPPED_ENDS_FENCE: u8 = 6;
pub(in crate::span) const END_IF_SHOWN: u8 = 7;
pub(in crate::span) const UPDATE: u8 = 8;
pub(in crate::span) const END_DELTA: u8 = 9;
pub(in crate::span) const FENCE: u8 = 10;
pub(in crate::span) const CHANGES: u8 = 11;
pub(in crate::span) const LOG: u8 = 12;
pub(in crate::span) const PROCESS_GONE: u8 = 13;
#[cfg(feature = "otlp")]
pub(in crate::span) const RECEIVED: u8 = 14;

/// Bits of the second byte of [`CHANGES`]: which parts follow.
pub(in crate::span) const CHANGED_NAME: u8 = 1;
pub(in crate::span) const CHANGED_STATUS: u8 = 2;
pub(in crate::span) const CHANGED_AWAITING: u8 = 4;
pub(in crate::span) const CHANGED_TO_NO_AWAITING: u8 = 8;
pub(in crate::span) const CHANGED_PANIC: u8 = 16;
pub(in crate::span) const CHANGED_TASK: u8 = 32;
/// In the same byte: the changes were noted by span ids only, so the source (the number of the span's process) is a
/// guess.
pub(in crate::span) const SOURCE_GUESSED: u8 = 64;

/// Flag in the count of an array: values were cut off.
pub(in crate::span) const ARRAY_CUT: u32 = 1 << 31;
pub(in crate::span) const PARENT_REMOTE: u8 = 1;
pub(in crate::span) const UNSAMPLED: u8 = 2;
pub(in crate::span) const DURABLE: u8 = 4;
pub(in crate::span) const WAITING: u8 = 8;
pub(in crate::span) const CANCELLED: u8 = 16;
pub(in crate::span) const DEDUPLICATED: u8 = 32;

/// The worker must remember the start for its end.
pub(in crate::span) const REMEMBERED: u8 = 64;

/// Parts were left out.
pub(in crate::span) const TRUNCATED: u8 = 128;

/// Flags: which texts follow a head.
pub(in crate::span) const HAS_SCOPE: u8 = 1;
pub(in crate::span) const HAS_VERSION: u8 = 2;
pub(in crate::span) const HAS_STATE: u8 = 4;

/// In the same byte: the slot of the start is in the [large](SlotTable::Large) table.
pub(in crate::span) const IN_LARGE_TABLE: u8 = 8;

/// The number of attributes and of links that follow a head. Both are in one integer, because one 8-byte load after two
/// 4-byte stores would miss store-to-load forwarding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartCounts(pub(in crate::span) u64);

impl PartCounts {
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    pub(in crate::span) fn new(attributes: u32, links: u32) -> Self {
        Self(u64::from(attributes) | u64::from(links) << 32)
    }

    #[inline]
    pub(crate) fn attributes(self) -> u32 {
        let [a0, a1, a2, a3, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a0, a1, a2, a3])
    }

    #[inline]
    pub(in crate::span) fn links(self) -> u32 {
        let [.., l0, l1, l2, l3] = self.0.to_le_bytes();
        u32::from_le_bytes([l0, l1, l2, l3])
    }
}

pub(in crate::span) const HEAD: usize = 60;

/// The head of a span's record.
pub(in crate::span) struct RecordHead {
    pub(in crate::span) source: u32,
    pub(in crate::span) flags: u8,
    pub(in crate::span) kind: SpanKind,
    pub(in crate::span) trace_id: [u8; 16],
    pub(in crate::span) span_id: [u8; 8],
    pub(in crate::span) parent: [u8; 8],
    pub(in crate::span) start: [u8; 8],
    pub(in crate::span) dropped_attributes: u32,
}

impl RecordHead {
    #[inline]
    pub(in crate::span) fn of(span: &SpanData, source: u32, flags: u8) -> Self {
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
    pub(in crate::span) fn write(
        &self,
        head: &mut [u8; HEAD],
        tag: u8,
        has: u8,
        counts: PartCounts,
    ) {
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

/// In the byte of the status: a panic ended the span. The panic's details follow the status.
pub(in crate::span) const PANICKED: u8 = 16;

/// In the same byte: the span's future was dropped before it was ready.
pub(in crate::span) const DROPPED_BEFORE_READY: u8 = 32;

/// Flags: which details of the panic follow.
pub(in crate::span) const PANIC_MESSAGE: u8 = 1;
pub(in crate::span) const PANIC_LOCATION: u8 = 2;
pub(in crate::span) const PANIC_THREAD: u8 = 4;

/// Bytes of an end after its head: status (1), end (8), dropped events (4) and links (4), count of events (4).
pub(in crate::span) const CLOSING: usize = 21;

/// Writes the next bytes of a head. The compiler knows the size of the head, so it removes the bounds checks.
#[inline]
pub(in crate::span) fn put<const SIZE: usize>(rest: &mut WriteBuf<'_>, bytes: [u8; SIZE]) {
    if let Some(slot) = rest.reserve_array() {
        *slot = bytes;
    }
}

/// Writes an id as two 8-byte stores, as it arrives in two registers. A copy through memory would load 16 bytes after
/// two 8-byte stores, and miss store-to-load forwarding.
#[inline]
pub(in crate::span) fn put_halves(rest: &mut WriteBuf<'_>, id: [u8; 16]) {
    let [u0, u1, u2, u3, u4, u5, u6, u7, lower @ ..] = id;
    // Converts to integers and back. Otherwise the compiler would vectorize the byte copies, in forty instructions.
    let upper = u64::from_be_bytes([u0, u1, u2, u3, u4, u5, u6, u7]);
    put(rest, upper.to_be_bytes());
    put(rest, u64::from_be_bytes(lower).to_be_bytes());
}

/// The head of a pair: the kind of the value and both lengths. Texts are clipped, so the lengths fit.
#[inline]
pub(in crate::span) fn pair_head(kind: u8, key: &str, text: &str) -> [u8; 8] {
    let [key, text] = [key, text].map(|text| text.len() as u64);
    (u64::from(kind) | key << 8 | text << 32).to_le_bytes()
}

/// The length of a text that was clipped.
#[inline]
pub(in crate::span) fn length_of(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or_default().to_le_bytes()
}

/// Converts the SDK's kind to this crate's type.
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

pub(in crate::span) fn span_kind(byte: u8) -> Option<SpanKind> {
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    kinds.into_iter().find(|kind| *kind as u8 == byte)
}

#[inline]
pub(in crate::span) fn nanos(time: SystemTime) -> [u8; 8] {
    Timestamp::from(time).nanos().to_le_bytes()
}

#[inline]
pub(in crate::span) fn flags_of(span: &SpanData) -> u8 {
    let remote = if span.parent_span_is_remote {
        PARENT_REMOTE
    } else {
        0
    };
    remote | sampled_flag(&span.span_context)
}

#[inline]
pub(in crate::span) fn sampled_flag(context: &SpanContext) -> u8 {
    if context.is_sampled() { 0 } else { UNSAMPLED }
}

#[inline]
pub(in crate::span) fn table_flag(table: SlotTable) -> u8 {
    match table {
        SlotTable::Small => 0,
        SlotTable::Large => IN_LARGE_TABLE,
    }
}

#[inline]
pub(in crate::span) fn table_of(has: u8) -> SlotTable {
    if has & IN_LARGE_TABLE == 0 {
        SlotTable::Small
    } else {
        SlotTable::Large
    }
}

#[inline]
pub(in crate::span) fn slot_of(
    flags: u8,
    has: u8,
    trace_id: [u8; 16],
    span_id: [u8; 8],
) -> Option<usize> {
    (flags & REMEMBERED != 0).then(|| SlotKey::of(trace_id, span_id).slot(table_of(has)))
}
