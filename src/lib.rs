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

#[cfg(feature = "dashboard")]
mod dashboard;
mod error;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "tracing")]
mod init;
#[cfg(feature = "spans")]
mod spans;
mod sse;
mod sync;
mod time;

#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use {opentelemetry, opentelemetry_sdk};

#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use crate::spans::{
    durations::DURATION_NAMES_MAX,
    event::{AttributeValue, Attributes, SpanEvent, SpanId, SpanKind, SpanState, SpanStatus, TraceId},
    filter::{DEFAULT_HIDDEN_TARGETS, SpanFacts},
    json::{EVENT_BYTES_MAX, VALUE_BYTES_MAX},
    live::{Auth, LiveSpans, LiveSpansBuilder, SHUTDOWN_TIMEOUT, Status, current_trace_id},
    processor::{FLUSH_TIMEOUT, LiveSpanProcessor, SampledOnly},
    sampler::LiveSampler,
};

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use crate::http::{
    params::QUERY_LENGTH_MAX,
    server::{CONNECTIONS_MAX, DEFAULT_ADDRESS, HEAD_TIMEOUT, LiveServer, STALL_TIMEOUT},
    traces::LIST_INTERVAL,
};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use crate::init::{InitGuard, init};
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
