//! The span encoder: it turns records into events and updates the trace index before readers see them. [`start`],
//! [`end`], [`logs`], [`updates`], [`workflow`] and [`lost_spans`] are the steps of [`SpanEncoder`]. It runs on the
//! worker thread only. It waits for the store only in [`lost_span_updates`], in [`workflow`] (when the log is opened)
//! and in `received`.

mod end;
mod eviction_query;
mod logs;
mod lost_span_updates;
mod lost_spans;
#[cfg(feature = "otlp")]
mod received;
mod span_encoder;
mod start;
pub(crate) mod start_cache;
pub(crate) mod start_templates;
mod updates;
mod workflow;

#[cfg(test)]
mod tests;

#[cfg(feature = "otlp")]
pub(crate) use self::received::{
    CompletedSpan, EarlierEvent, PreparedIndex, PreparedSpans, ReceivedEvents, RequestProgress,
    SharedReceiver,
};
pub(crate) use self::span_encoder::SpanEncoder;
