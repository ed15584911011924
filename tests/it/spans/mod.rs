//! Spans through real providers: their events, the order of the events, and failures.

mod awaiting;
mod burst;
#[cfg(feature = "tracing")]
mod cancelled;
mod delta_ends;
#[cfg(all(feature = "internal-logs", feature = "tracing"))]
mod diagnostics;
mod dispatched_events;
mod faults;
mod filters;
mod flush;
#[cfg(unix)]
mod forked;
mod inside;
mod inside_tracing;
mod lifecycle;
pub(crate) mod live_provider;
#[cfg(feature = "logs")]
mod logs;
#[cfg(feature = "metrics")]
mod metrics;
mod order;
mod overload;
mod panic_hook;
mod panicked;
mod polls;
mod redact;
mod retention;
#[cfg(all(feature = "http", feature = "sqlite"))]
mod secrets;
mod self_observation;
mod shared_ids;
#[cfg(feature = "tracing")]
mod tasks;
mod through_tracing;
mod wire;
mod wrapping;
