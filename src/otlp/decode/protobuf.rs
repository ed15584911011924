//! Decodes log requests with `prost`, and counts the memory that requests need. Two bytes of a body
//! can become a struct of several hundred bytes. So a pass over the field numbers counts the memory
//! before `prost` decodes the body. The pass allocates nothing. It counts an unknown field like a
//! string. Pure.

use std::fmt;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::ResourceSpans,
};
use prost::Message as _;

use crate::otlp::decode::{
    types::DecodeError,
    usage::{Exceeded, RequestUsage},
};

/// The recursion limit of `prost`.
const DEPTH_MAX: usize = 100;
/// The allocator's overhead per string.
const TEXT_OVERHEAD: usize = 16;

pub(super) fn logs(body: &[u8], usage: &RequestUsage) -> Result<Vec<ResourceLogs>, DecodeError> {
    measure(body, MessageKind::LogRequest, usage)?;
    let request = ExportLogsServiceRequest::decode(body).map_err(malformed)?;
    Ok(request.resource_logs)
}

pub(super) fn malformed(why: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(format!(
        "the body is not the protobuf of this request: {why}"
    ))
}

/// Counts the memory of a request for traces that has only resources.
pub(super) fn measure_traces(body: &[u8], usage: &RequestUsage) -> Result<(), Exceeded> {
    walk(body, MessageKind::TraceRequest, 0, usage)
}

fn measure(body: &[u8], kind: MessageKind, usage: &RequestUsage) -> Result<(), DecodeError> {
    walk(body, kind, 0, usage).map_err(|Exceeded| usage.exceeded())
}

/// A kind of OTLP message.
#[derive(Clone, Copy)]
enum MessageKind {
    TraceRequest,
    ResourceSpans,
    LogRequest,
    ResourceLogs,
    ScopeLogs,
    LogRecord,
    Resource,
    Scope,
    KeyValue,
    AnyValue,
    Array,
    Map,
    /// A message without submessages, and its size in memory.
    Leaf(usize),
}

impl MessageKind {
    /// Returns the kind of the message in this field.
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::TraceRequest, 1) => Self::ResourceSpans,
            (Self::LogRequest, 1) => Self::ResourceLogs,
            (Self::ResourceSpans | Self::ResourceLogs, 1) => Self::Resource,
            (Self::ResourceLogs, 2) => Self::ScopeLogs,
            (Self::ScopeLogs, 1) => Self::Scope,
            (Self::ScopeLogs, 2) => Self::LogRecord,
            (Self::Resource, 3) => Self::Leaf(size_of::<EntityRef>()),
            (Self::Resource | Self::Map, 1) | (Self::Scope, 3) | (Self::LogRecord, 6) => {
                Self::KeyValue
            }
            (Self::Array, 1) | (Self::KeyValue, 2) | (Self::LogRecord, 5) => Self::AnyValue,
            (Self::AnyValue, 5) => Self::Array,
            (Self::AnyValue, 6) => Self::Map,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::TraceRequest | Self::LogRequest => 0,
            Self::ResourceSpans => size_of::<ResourceSpans>(),
            Self::ResourceLogs => size_of::<ResourceLogs>(),
            Self::ScopeLogs => size_of::<ScopeLogs>(),
            Self::LogRecord => size_of::<LogRecord>(),
            Self::Resource => size_of::<Resource>(),
            Self::Scope => size_of::<InstrumentationScope>(),
            Self::KeyValue => size_of::<KeyValue>(),
            Self::AnyValue => size_of::<AnyValue>(),
            Self::Array => size_of::<ArrayValue>(),
            Self::Map => size_of::<KeyValueList>(),
            Self::Leaf(size) => size,
        }
    }
}

/// Counts a message and its submessages. It stops without an error at invalid bytes and at the
/// recursion limit, because `prost` then reports the error.
fn walk(
    mut rest: &[u8],
    kind: MessageKind,
    depth: usize,
    usage: &RequestUsage,
) -> Result<(), Exceeded> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    while let Some((field, after)) = take_field(rest) {
        rest = after.rest;
        let Some(bytes) = after.bytes else { continue };
        let Some(child) = kind.child(field) else {
            // A string, an id, or an entry of a list of strings.
            usage.bytes(bytes.len() + TEXT_OVERHEAD + size_of::<String>())?;
            continue;
        };
        match child {
            MessageKind::LogRecord => usage.item(child.size())?,
            _ => usage.part(child.size())?,
        }
        walk(bytes, child, depth + 1, usage)?;
    }
    Ok(())
}

/// The value of a field.
struct Field<'a> {
    /// The contents of a field with a length.
    bytes: Option<&'a [u8]>,
    rest: &'a [u8],
}

/// Removes one field from the beginning. Returns `None` at the end, or if the bytes are not a
/// field.
#[inline]
fn take_field(rest: &[u8]) -> Option<(u64, Field<'_>)> {
    let (key, rest) = take_varint(rest)?;
    let skip = |count: usize| rest.get(count..);
    let (bytes, rest) = match key & 7 {
        0 => (None, take_varint(rest)?.1),
        1 => (None, skip(8)?),
        2 => {
            let (length, rest) = take_varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Some(bytes), rest)
        }
        5 => (None, skip(4)?),
        // The start and the end of a group. The group's fields count as fields of this message.
        3 | 4 => (None, rest),
        _ => return None,
    };
    Some((key >> 3, Field { bytes, rest }))
}

/// Removes a varint from the beginning. Returns `None` if it is cut off or too long.
#[inline]
fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [byte @ 0..=0x7f, rest @ ..] => Some((u64::from(*byte), rest)),
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}
