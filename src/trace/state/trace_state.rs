//! The state of a trace, as lists and routes name it. Pure.

use serde::Serialize;

/// The state of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TraceState {
    /// A span of it is open.
    Running,
    /// Its open spans wait: for a time, or an event.
    Waiting,
    /// Its root ended well.
    Ok,
    /// Its root failed. If the root is unknown: any span failed.
    Error,
    /// A panic ended its root.
    Panicked,
    /// Its root was dropped before it was ready.
    Cancelled,
    /// The end of its root will never come.
    Lost,
}

#[cfg(feature = "mcp")]
impl TraceState {
    /// Returns the word for it, as JSON has it.
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
