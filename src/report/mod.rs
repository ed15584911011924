//! Reports on traces, as text for terminals and agents, and as JSON: running spans, problems, lists
//! of traces, and single traces. A report is made on request from the trace index and the log, and
//! is bounded in time and size. It runs on the task of a request, or on a thread that prints a
//! report while the program hangs; no report needs a runtime of the host.
//!
//! Span texts come from outside: only [`text`] prints them, quoted and without control characters.

#![cfg_attr(
    not(feature = "mcp"),
    expect(dead_code, reason = "without `mcp`, nothing uses some parts")
)]

pub(crate) mod blocking;
pub(crate) mod event_fields;
#[cfg(feature = "mcp")]
pub(crate) mod found;
pub(crate) mod outline;
#[cfg(feature = "mcp")]
pub(crate) mod problems;
pub(crate) mod progress_rate;
pub(crate) mod running;
pub(crate) mod running_text;
#[cfg(unix)]
pub(crate) mod signal;
pub(crate) mod text;
#[cfg(feature = "mcp")]
pub(crate) mod trace;
pub(crate) mod trace_events;
#[cfg(feature = "mcp")]
pub(crate) mod wait;
