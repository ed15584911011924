//! The states of a trace. Lists and routes use these names. Pure.

use serde::Serialize;

/// The state of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TraceState {
    /// A span of the trace is open. If all open spans wait, the state is `Waiting` instead.
    Running,
    /// The trace's open spans wait for a time or an event.
    Waiting,
    /// The root ended without an error. If the root is unknown, no span failed or was lost.
    Ok,
    /// The root failed. If the root is unknown, a span failed and none was lost.
    Error,
    /// A panic ended the root.
    Panicked,
    /// The root's future was dropped before it completed.
    Cancelled,
    /// The root was ended as lost, because its own end will never arrive. If the root is unknown, a
    /// span of the trace was ended as lost.
    Lost,
}

#[cfg(feature = "mcp")]
impl TraceState {
    /// Returns the state's name in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Panicked => "panicked",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}
