//! What went wrong, and what goes wrong now.

pub(crate) mod collect;
mod ended_spans;
mod error_logs;
mod lost_events;
pub(crate) mod report;

#[cfg(test)]
mod tests;
