//! [`SpanView`]: a span as views into the protobuf of its message. Reading it copies no text. Pure.

use crate::{
    otlp::decode::{
        attributes::read_attribute,
        usage::RequestUsage,
        wire::{MessageReader, ReadError},
    },
    span::json::{Pairs, TimedEvent},
    util::time::Timestamp,
};

/// The number of messages around a span: the request, `ResourceSpans` and `ScopeSpans`.
const SPAN_DEPTH: u32 = 3;

/// A span and its scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanView<'a> {
    /// The protobuf of the span.
    pub(crate) bytes: &'a [u8],
    pub(crate) scope: &'a str,
    pub(crate) scope_version: &'a str,
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) trace_state: &'a str,
    pub(crate) parent_span_id: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) name: &'a str,
    pub(crate) kind: i32,
    pub(crate) start_nanos: u64,
    pub(crate) end_nanos: u64,
    pub(crate) attributes: Pairs<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) events: Vec<TimedEvent<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) links: Vec<LinkView<'a>>,
    pub(crate) dropped_links: u32,
    pub(crate) status: StatusView<'a>,
}

/// A link of a span. Its ids may be invalid.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkView<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) attributes: Pairs<'a>,
}

/// The status of a span. Its code may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StatusView<'a> {
    pub(crate) code: i32,
    pub(crate) message: &'a str,
}

/// The parts of a span that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanParts {
    All,
    /// All but attributes, events, links and status.
    Head,
}

impl<'a> SpanView<'a> {
    /// Reads a span again that a request contained. Its bounds were checked when the request was
    /// read.
    pub(crate) fn again(bytes: &'a [u8], parts: SpanParts) -> Option<Self> {
        let reader = MessageReader::new(bytes, "Span", SPAN_DEPTH);
        Self::read(reader, parts, &RequestUsage::unbounded()).ok()
    }

    pub(super) fn read(
        mut reader: MessageReader<'a>,
        parts: SpanParts,
        usage: &RequestUsage,
    ) -> Result<Self, ReadError> {
        let mut span = Self {
            bytes: reader.rest(),
            ..Self::default()
        };
        while let Some((field, kind)) = reader.field()? {
            match field {
                1 => span.trace_id = reader.bytes(kind)?,
                2 => span.span_id = reader.bytes(kind)?,
                3 => span.trace_state = reader.text(kind)?,
                4 => span.parent_span_id = reader.bytes(kind)?,
                5 => span.name = reader.text(kind)?,
                6 => span.kind = reader.int32(kind)?,
                7 => span.start_nanos = reader.fixed64(kind)?,
                8 => span.end_nanos = reader.fixed64(kind)?,
                9 | 11 | 13 | 15 if parts == SpanParts::Head => reader.skip(kind)?,
                9 => {
                    let pair = reader.message(kind, "KeyValue")?;
                    read_attribute(pair, &mut span.attributes, usage)?;
                }
                10 => span.dropped_attributes = reader.uint32(kind)?,
                11 => {
                    let event = reader.message(kind, "Event")?;
                    usage.part(size_of::<TimedEvent<'_>>())?;
                    span.events.push(read_event(event, usage)?);
                }
                12 => span.dropped_events = reader.uint32(kind)?,
                13 => {
                    let link = reader.message(kind, "Link")?;
                    usage.part(size_of::<LinkView<'_>>())?;
                    span.links.push(read_link(link, usage)?);
                }
                14 => span.dropped_links = reader.uint32(kind)?,
                15 => read_status(reader.message(kind, "Status")?, &mut span.status)?,
                16 => span.flags = reader.fixed32(kind)?,
                _ => reader.skip(kind)?,
            }
        }
        Ok(span)
    }
}

fn read_event<'a>(
    mut reader: MessageReader<'a>,
    usage: &RequestUsage,
) -> Result<TimedEvent<'a>, ReadError> {
    let (mut name, mut time, mut attributes) = ("", 0, Pairs::new());
    while let Some((field, kind)) = reader.field()? {
        match field {
            1 => time = reader.fixed64(kind)?,
            2 => name = reader.text(kind)?,
            3 => {
                let pair = reader.message(kind, "KeyValue")?;
                read_attribute(pair, &mut attributes, usage)?;
            }
            4 => drop(reader.uint32(kind)?),
            _ => reader.skip(kind)?,
        }
    }
    Ok(TimedEvent {
        name: name.into(),
        time: Timestamp::from_nanos(time),
        attributes,
    })
}

fn read_link<'a>(
    mut reader: MessageReader<'a>,
    usage: &RequestUsage,
) -> Result<LinkView<'a>, ReadError> {
    let mut link = LinkView::default();
    while let Some((field, kind)) = reader.field()? {
        match field {
            1 => link.trace_id = reader.bytes(kind)?,
            2 => link.span_id = reader.bytes(kind)?,
            3 => drop(reader.text(kind)?),
            4 => {
                let pair = reader.message(kind, "KeyValue")?;
                read_attribute(pair, &mut link.attributes, usage)?;
            }
            5 => drop(reader.uint32(kind)?),
            6 => drop(reader.fixed32(kind)?),
            _ => reader.skip(kind)?,
        }
    }
    Ok(link)
}

fn read_status<'a>(
    mut reader: MessageReader<'a>,
    status: &mut StatusView<'a>,
) -> Result<(), ReadError> {
    while let Some((field, kind)) = reader.field()? {
        match field {
            2 => status.message = reader.text(kind)?,
            3 => status.code = reader.int32(kind)?,
            _ => reader.skip(kind)?,
        }
    }
    Ok(())
}
