//! Spans through real providers: what they look like, in which order they come, and what becomes of them when
//! something goes wrong.

mod burst;
mod dispatched;
mod faults;
mod filters;
mod flush;
#[cfg(unix)]
mod forked;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod order;
mod overload;
mod quiet;
mod redact;
mod remembered;
mod retention;
mod through_tracing;
#[cfg(all(feature = "internal-logs", feature = "tracing"))]
mod warned;
pub(crate) mod watched;
mod wire;
mod wrapping;
