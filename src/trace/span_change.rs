//! The change of one span that an event makes: it started, it ended, or something changed while it is open. Plain
//! data. The worker makes it from records, and [`parse`](crate::trace::parse) from stored events.

use std::sync::Arc;

use crate::{
    span::{
        event::SpanKind, json::clip, progress::SpanProgress, root_attributes::RootAttributes,
        updates::Awaiting,
    },
    util::time::Timestamp,
};

/// Upper bound on the bytes of a name or a service that are remembered. Longer ones are cut.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

/// Upper bound on the bytes of a status message that are remembered. Longer ones are cut.
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
        /// What the status says, if the span failed or panicked.
        message: Option<Box<str>>,
    },
    /// Something changed in an open span.
    Updated(Box<SpanUpdate>),
    /// A log record of this severity, which changes no span. Outside of traces, both ids are zeros.
    Log(u8),
    Other,
}

/// What an update says that the index remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SpanUpdate {
    /// Whether the span waits, of a workflow.
    pub(crate) waits: Option<bool>,
    pub(crate) name: Option<Arc<str>>,
    /// Whether its status is ERROR, or a panic passes through it.
    pub(crate) fails: Option<bool>,
    pub(crate) progress: Option<Box<SpanProgress>>,
    pub(crate) of_root: Option<RootAttributes>,
    pub(crate) awaiting: Awaiting<AwaitPoint>,
}

/// What an open span waits for, and since when.
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

/// The fields of a span's start, which its end repeats.
#[derive(Clone, Debug)]
pub(crate) struct SpanStart {
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) parent_remote: bool,
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) kind: SpanKind,
    pub(crate) start_time: Timestamp,
    pub(crate) links: Box<[[u8; 16]]>,
    /// The progress that its attributes tell.
    pub(crate) progress: Option<Box<SpanProgress>>,
    /// Attributes that tell a root from others. The worker leaves them out of a span that has a parent in its process.
    pub(crate) of_root: Option<RootAttributes>,
}

impl SpanStart {
    /// Returns the part of a name or a service that is remembered.
    pub(crate) fn text(text: &str) -> &str {
        clip(text, TEXT_BYTES_MAX).0
    }

    /// Returns the part of a status message that is remembered.
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
