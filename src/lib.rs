//! Watch your program run.
#![cfg_attr(docsrs, feature(doc_cfg))]
// This code runs inside someone else's process: it never panics, prints or exits. Tests may.
#![cfg_attr(
    not(test),
    warn(
        clippy::exit,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

mod error;
mod sse;
mod sync;
mod time;

pub use crate::{
    error::Error,
    sse::{
        batch::{Batch, BatchRecord},
        body::{PING_INTERVAL, SseBody, UNKNOWN_TIMEOUT, resume_point},
        control::{Dropped, EndReason, Gap},
        event::{Pin, SseEvent, StreamKey},
        id::{Epoch, EventId, ResumePoint, Sequence},
        intake::{DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS},
        log::StoreHealth,
        retention::{
            DEFAULT_RETENTION_AGE, DEFAULT_RETENTION_BYTES, DEFAULT_RETENTION_EVENTS,
            RETENTION_PINNED_BYTES_MAX, RETENTION_PINNED_EVENTS_MAX, Retention,
        },
        store::{
            EventStore, MemoryEventStore, NullEventStore, Opened, PageLimit, ReadFuture,
            SharedTail, StoredEvent,
        },
        subscription::{Event, Message, Subscribe, Subscription},
        target::{PAYLOAD_BYTES_MAX, SseTarget, SseTargetBuilder},
    },
};
