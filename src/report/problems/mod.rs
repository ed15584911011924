//! The report on past and current problems.

pub(crate) mod collect;
mod ended_spans;
mod error_logs;
mod lost_events;
pub(crate) mod report;

#[cfg(test)]
mod tests;
