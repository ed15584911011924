//! The states of a trace. Lists and routes use these names. Pure.

use serde::Serialize;

/// The state of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TraceState {
    /// A span of the trace is open.
    Running,
    /// The trace's open spans wait for a time or an event.
    Waiting,
    /// The root ended without an error.
    Ok,
    /// The root failed. If the root is unknown, any span failed.
    Error,
    /// A panic ended the root.
    Panicked,
    /// The root's future was dropped before it completed.
    Cancelled,
    /// The root's end will never arrive. If the root is unknown, this holds for any span.
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
