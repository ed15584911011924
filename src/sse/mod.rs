//! The event log and its readers, for any type of event: dispatch, subscribe, and answer a request with an SSE stream.
//! It does not depend on OpenTelemetry or a web framework. `body` runs on the task of the connection, the rest on the
//! caller's thread.
//!
//! [`SseTarget`] is the log: an app dispatches its [`SseEvent`]s to it. A reader is a [`Subscription`], a stream of
//! [`Message`]s within the program, or an [`SseBody`], the body of an HTTP response.

#![cfg_attr(
    not(feature = "spans"),
    expect(dead_code, reason = "without `spans`, nothing uses some parts")
)]

pub(crate) mod body;
pub(crate) mod target;

pub use crate::{
    engine::log::{Status, StoreHealth},
    log::event::{Pinning, SseEvent, StreamKey},
    reader::subscription::{Event, Message, Subscribe, Subscription},
    sse::{
        body::{SseBody, resume_point},
        target::{SseTarget, SseTargetBuilder},
    },
    wire::{
        control::{Dropped, EndReason, Gap},
        id::{Epoch, EventId, ResumePoint, Sequence},
    },
};
