//! The contents of span events as borrowed fields: the input of the JSON writer. Plain data; every thread that writes
//! events uses it.

use std::borrow::Cow;

use crate::{
    span::{event::SpanKind, json::value::Pairs},
    util::time::Timestamp,
};

/// The fields that span events have in common.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the wire format has these flags"
)]
pub(crate) struct SpanFields<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) unsampled: bool,
    pub(crate) durable: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    pub(crate) process: &'a str,
    pub(crate) service: &'a str,
    /// `None` in a start that a sampler reported, because a sampler does not know the scope.
    pub(crate) scope: Option<&'a str>,
    pub(crate) scope_version: Option<&'a str>,
    pub(crate) trace_state: &'a str,
    pub(crate) attributes: Pairs<'a>,
    pub(crate) dropped_attributes: u32,
    pub(crate) links: Vec<Link<'a>>,
    /// The time at which a receiver got the event. Set only if the event's own time is implausible.
    pub(crate) received: Option<Timestamp>,
    /// Whether parts of the record were left out before it came here.
    pub(crate) truncated: bool,
}

impl SpanFields<'_> {
    /// Returns a span with only its ids.
    pub(crate) fn bare(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            parent_remote: false,
            unsampled: false,
            durable: false,
            name: "",
            kind: SpanKind::Internal,
            process: "",
            service: "",
            scope: None,
            scope_version: None,
            trace_state: "",
            attributes: Vec::new(),
            dropped_attributes: 0,
            links: Vec::new(),
            received: None,
            truncated: false,
        }
    }
}

/// The key of [`SpanFields::received`].
#[cfg(feature = "otlp")]
pub(crate) const RECEIVED_KEY: &[u8] = b"receivedTimestamp";

/// The fields that the end of a span adds.
#[derive(Clone, Debug)]
pub(crate) struct EndFields<'a> {
    pub(crate) status: EndStatus<'a>,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) events: Vec<TimedEvent<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
    pub(crate) reason: EndCause<'a>,
}

/// The cause of a span's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndCause<'a> {
    /// The work is done, successfully or not.
    Done,
    Cancelled,
    Panicked(PanicFields<'a>),
}

/// The known details of the panic that ended a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanicFields<'a> {
    pub(crate) message: Option<Cow<'a, str>>,
    pub(crate) location: Option<Cow<'a, str>>,
    pub(crate) thread: Option<Cow<'a, str>>,
}

impl PanicFields<'_> {
    /// The status message of a span whose panic has no known message.
    pub(crate) const UNKNOWN_MESSAGE: &'static str = "panicked";
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndStatus<'a> {
    Unset,
    Ok,
    Error(Cow<'a, str>),
}

/// An event within a span.
#[derive(Clone, Debug)]
pub(crate) struct TimedEvent<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) time: Timestamp,
    pub(crate) attributes: Pairs<'a>,
}

#[derive(Clone, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) attributes: Pairs<'a>,
}

/// The fields of a `process` event.
#[derive(Clone, Debug)]
pub(crate) struct ProcessFields<'a> {
    pub(crate) process: &'a str,
    pub(crate) service: &'a str,
    pub(crate) resource: Pairs<'a>,
    pub(crate) pid: Option<u32>,
    pub(crate) start: Timestamp,
    pub(crate) now: Timestamp,
}
