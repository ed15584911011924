//! On the worker thread: records become events, and the trace index learns of them before readers see them.
//! [`start`], [`end`], [`workflow`] and [`lost_spans`] are the steps of [`SpanEncoder`].

mod end;
mod lost_spans;
mod span_encoder;
mod start;
pub(crate) mod start_cache;
pub(crate) mod start_templates;
mod workflow;

#[cfg(test)]
mod tests;

pub(crate) use self::span_encoder::SpanEncoder;
