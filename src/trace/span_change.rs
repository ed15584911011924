//! The change that an event makes to one span: it started, it ended, or something changed while it
//! is open. Plain data. The worker creates it from records, and [`parse`](crate::trace::parse) from
//! stored events.

use std::sync::Arc;

use crate::{
    span::{
        event::SpanKind, json::clip, progress::SpanProgress, root_attributes::RootAttributes,
        updates::Awaiting,
    },
    util::time::Timestamp,
};

/// Upper bound on the stored bytes of a name or a service. Longer ones are cut.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

/// Upper bound on the stored bytes of a status message. Longer ones are cut.
pub(super) const MESSAGE_BYTES_MAX: usize = 256;

/// A change of one span.
#[derive(Clone, Debug)]
pub(crate) struct SpanChange {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) time: Timestamp,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    Started(SpanStart),
    Ended {
        start: SpanStart,
        outcome: SpanOutcome,
        /// The status message, if the span failed or panicked.
        message: Option<Box<str>>,
    },
    /// Something changed in an open span.
    Updated(Box<SpanUpdate>),
    /// A log record of this severity. It changes no span. Outside of traces, both ids are zeros.
    Log(u8),
    Other,
}

/// The parts of an update that the index stores.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SpanUpdate {
    /// Whether the span, a step of a workflow, waits.
    pub(crate) waits: Option<bool>,
    pub(crate) name: Option<Arc<str>>,
    /// Whether the span's status is ERROR, or a panic is unwinding through it.
    pub(crate) fails: Option<bool>,
    pub(crate) progress: Option<Box<SpanProgress>>,
    pub(crate) of_root: Option<RootAttributes>,
    pub(crate) awaiting: Awaiting<AwaitPoint>,
}

/// The await point of an open span, and the time at which the wait began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwaitPoint {
    pub(crate) name: Arc<str>,
    pub(crate) since: Timestamp,
}

impl ChangeKind {
    pub(crate) fn of_update(update: SpanUpdate) -> Self {
        if update == SpanUpdate::default() {
            return Self::Other;
        }
        Self::Updated(Box::new(update))
    }
}

/// The fields of a span's start. Its end repeats them.
#[derive(Clone, Debug)]
pub(crate) struct SpanStart {
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) kind: SpanKind,
    pub(crate) start_time: Timestamp,
    pub(crate) links: Box<[[u8; 16]]>,
    /// The progress in the span's attributes.
    pub(crate) progress: Option<Box<SpanProgress>>,
    /// Attributes that distinguish a root from other roots. The worker omits them for a span whose
    /// parent is in the same process.
    pub(crate) of_root: Option<RootAttributes>,
}

impl SpanStart {
    /// Returns the part of a name or a service that is stored.
    pub(crate) fn text(text: &str) -> &str {
        clip(text, TEXT_BYTES_MAX).0
    }

    /// Returns the part of a status message that is stored.
    pub(crate) fn message(text: &str) -> Option<Box<str>> {
        (!text.is_empty()).then(|| clip(text, MESSAGE_BYTES_MAX).0.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOutcome {
    Ok,
    Error,
    Panicked,
    Cancelled,
    Lost,
}
