//! Receives OTLP: spans and log records that other processes, in any language, send while they run.
//! [`ImportedFile`] reads trace files by the same mapping.
//!
//! [`OtlpReceiver`] turns it on: `LiveSpans::builder().otlp(OtlpReceiver::default())`. The server
//! then also has the routes `POST /v1/traces`, `/v1/logs` and `/v1/metrics`.
//!
//! # How open spans are recognised
//!
//! OTLP has no form for a span that has not ended. Senders use these forms, and livespan accepts
//! all of them:
//!
//! | form | what is shown |
//! | --- | --- |
//! | no end, an end of 0, or an end before the start | the span starts; sent again, it is updated |
//! | a span of length zero from .NET (`telemetry.sdk.language` = `dotnet`) | the span starts, unless this sender is known to send only ended spans |
//! | Logfire: `logfire.span_type` = `pending_span` | the start of the span that it names as its parent |
//! | Datadog: `_dd.partial_version` | the span starts or is updated, whatever its end says |
//! | log records with `partial.event` = `heartbeat` (partial-span processors of G-Research) | the spans in the body start or are updated |
//! | an ended span that was never open | start and end at once, parents before children |
//! | exactly the same span again | nothing: it was a retry |
//! | an ended span again, with other content | the later content counts |
//! | exactly the same log records again | nothing: it was a retry; records without any time are stored again |
//!
//! The attributes `livespan.panicked` and `livespan.cancelled` (`true`) set the outcome of a span.
//! `livespan.awaiting` (a text) sets its await point. They are not shown as attributes.
//!
//! A span is *lost* when its process has been silent for five times its usual interval between two reports of an open
//! span, and for at least [`OtlpReceiver::SILENCE_MIN`]. If a process never sends an open span twice, its silence has
//! no effect, and its spans stay open.

pub(crate) mod budget;
mod config;
pub(crate) mod decode;
mod deferred_updates;
mod encoder;
#[cfg(test)]
pub(crate) mod fixtures;
mod followed_spans;
mod import;
mod mapping;
pub(crate) mod queue;
pub(crate) mod receiver;
mod recent;
pub(crate) mod request;
mod sender_activity;
pub(crate) mod senders;

pub use self::{config::OtlpReceiver, import::ImportedFile};
