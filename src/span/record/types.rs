//! What a record says: the types that the reader returns and the writers take. Plain data, no I/O, no clock.

use crate::{
    span::{
        dropped_ends::DroppedEnd,
        event::SpanState,
        json::{EndFields, SpanFields},
        record::layout::{CANCELLED, DEDUPLICATED, DURABLE, WAITING},
    },
    util::time::Timestamp,
};

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
