//! The contents of a record: the types that the reader returns and the writers accept. Plain data, no I/O, no clock.
//! Host threads and the worker use it.

use crate::{
    span::{
        dropped_ends::DroppedEnd,
        event::SpanState,
        json::{ChangeFields, EndFields, LogFields, SpanFields},
        record::layout::{CANCELLED, DEDUPLICATED, DURABLE, WAITING},
    },
    util::time::Timestamp,
};

/// A decoded record.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Start(SpanRecord<'a>),
    End(SpanRecord<'a>, EndFields<'a>),
    /// An end that the worker uses only if readers have the span's start.
    EndIfShown(SpanRecord<'a>, EndFields<'a>),
    /// The attributes or the state of an open span changed.
    Update(SpanRecord<'a>, Option<SpanState>, Timestamp),
    /// A log record, inside or outside of spans.
    Log {
        source: u32,
        log: LogFields<'a>,
    },
    /// The changes of an open span.
    Changes(SpanChanges<'a>),
    /// The end of this span was dropped.
    DroppedEnd(DroppedEnd),
    /// A fence. Dropped ends were collected before it was pushed, so the starts of their spans come before it.
    DroppedEndsFence,
    /// The caller that waits for this acknowledgement is woken when all earlier records are stored and visible.
    Fence {
        ack: u64,
    },
    /// The next request of a receiver waits in its queue.
    #[cfg(feature = "otlp")]
    Received,
    /// This span belongs to a request to our own routes.
    Hide {
        trace_id: [u8; 16],
        span_id: [u8; 8],
    },
    /// The process with this id, whose events came from another log, is gone.
    ProcessGone {
        process: &'a str,
        time: Timestamp,
    },
    /// The provider of this source was shut down.
    Shutdown {
        source: u32,
        time: Timestamp,
    },
}

/// A span, its source (the number of its process), and when it began.
#[derive(Debug)]
pub(crate) struct SpanRecord<'a> {
    pub(crate) source: u32,
    /// Whether the log keeps the event only once.
    pub(crate) is_deduplicated: bool,
    pub(crate) activity: StepActivity,
    /// For a start: the slot in which the worker must remember the record until the span ends.
    pub(crate) slot: Option<usize>,
    pub(crate) start: Timestamp,
    pub(crate) span: SpanFields<'a>,
}

/// The changes of an open span.
#[derive(Debug)]
pub(crate) struct SpanChanges<'a> {
    pub(crate) source: u32,
    /// Whether the source is a guess. The start of the span has the real source.
    pub(crate) is_source_guessed: bool,
    /// The span's ids, and the attributes and links that changed.
    pub(crate) span: SpanFields<'a>,
    pub(crate) changes: ChangeFields<'a>,
    pub(crate) time: Timestamp,
}

/// The instrumentation scope, if the record has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeFields<'a> {
    pub(crate) scope: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

/// The origin of a span, which its `SpanData` does not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOrigin {
    /// A span of the SDK.
    Sdk,
    /// A span of a workflow. A replay of the workflow reports it again.
    Workflow(Durability, StepActivity),
}

/// Whether a workflow outlives its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The engine stores the workflow, so it may outlive its process.
    Durable,
    /// Only the process has the workflow's state, so the workflow is lost with the process.
    Process,
}

/// The activity of a workflow's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepActivity {
    /// The span does work, or contains spans that do work.
    Working,
    /// The span only waits for a time or an event. If a replay reports the start again, the workflow is still not shown
    /// as working.
    Waiting,
    /// The span ends because its workflow was cancelled.
    Cancelled,
}

impl StepActivity {
    pub(super) fn from_flags(flags: u8) -> Self {
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
    pub(super) fn flags(self) -> u8 {
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
