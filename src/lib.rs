//! Watch your program run: every OpenTelemetry span is streamed to a browser the moment it starts, and again when it
//! ends, from a log that can be replayed.
//!
//! Four steps, each usable alone:
//!
//! 1. [`init`] for a first look: provider, `tracing` subscriber and server in one line.
//! 2. [`LiveSpans::builder`] for an app.
//! 3. Its parts, for those who own the rest: [`LiveSpans::span_processor`], [`LiveSpans::router`],
//!    [`LiveSpans::respond`], [`LiveSpans::target`].
//! 4. [`EventStore`] for storage of your own, and [`SseTarget`] for events that are no spans.
//!
//! ```
//! use livespan::LiveSpans;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//!
//! let live = LiveSpans::builder().build()?;
//! let provider = SdkTracerProvider::builder().with_span_processor(live.span_processor()).build();
//! let server = live.serve_in_background("127.0.0.1:0")?;
//! println!("dashboard: {}", server.url());
//! # provider.shutdown().ok();
//! # live.shutdown()?;
//! # Ok::<(), livespan::Error>(())
//! ```
//!
//! And [`workflow`] for what outlives its process.
//!
//! The README has the wire format, the routes, the limits and the costs.
//!
//! # Features
//!
//! On by default: `spans` (the span layer), `http` (routes and server), `dashboard` (the page), `tracing` ([`init`]),
//! `internal-logs` (trouble is told in the SDK's own log).
//! Without any, the crate is the SSE core: [`SseTarget`] and its stores. On request: `sqlite` (`SqliteEventStore`), `redis`
//! (`RedisEventStore`), `metrics` (`LiveSpans::observe_with`), `testing` (the suite that every [`EventStore`] must pass).
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

#[cfg(feature = "spans")]
mod access;
#[cfg(feature = "dashboard")]
mod dashboard;
#[cfg(feature = "spans")]
mod encoder;
mod engine;
mod error;
#[cfg(feature = "http")]
mod http;
mod ingest;
#[cfg(feature = "tracing")]
mod init;
#[cfg(feature = "spans")]
mod live_spans;
#[cfg(feature = "spans")]
pub mod local_workflow;
mod log;
#[cfg(feature = "spans")]
mod otel;
mod reader;
#[cfg(feature = "spans")]
mod span;
mod sse;
mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
#[cfg(feature = "spans")]
mod trace;
mod util;
mod wire;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod workflow;

#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use {opentelemetry, opentelemetry_sdk};

#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use crate::{
    access::{
        Access, Auth, DEFAULT_SUBSCRIBERS_MAX, DEFAULT_SUBSCRIBERS_PER_ADDRESS,
        view::{View, ViewedSpan},
    },
    live_spans::{LiveSpans, LiveSpansBuilder, SHUTDOWN_TIMEOUT, current_trace_id},
    otel::{
        filter::{DEFAULT_HIDDEN_TARGETS, SpanFacts},
        processor::{FLUSH_TIMEOUT, LiveSpanProcessor, SampledOnly},
        sampler::LiveSampler,
    },
    span::{
        event::{
            AttributeValue, Attributes, SpanEvent, SpanId, SpanKind, SpanState, SpanStatus, TraceId,
        },
        json::{ATTRIBUTES_MAX, EVENT_BYTES_MAX, VALUE_BYTES_MAX},
        redact::{DEFAULT_REDACTED_KEYS, REDACTED, Redact, Redaction},
    },
    trace::durations::DURATION_NAMES_MAX,
};

#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use crate::store::{
    DEFAULT_SQLITE_RETENTION_AGE, DEFAULT_SQLITE_RETENTION_BYTES, DEFAULT_SQLITE_RETENTION_EVENTS,
    SqliteEventStore, Synchronous,
};

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use crate::access::signing::{LOGIN_AGE, LOGIN_LINK_AGE};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use crate::http::{
    authorize::{CHECK_TIMEOUT, TICKET_AGE_MAX},
    query_params::QUERY_LENGTH_MAX,
    server::{
        CONNECTIONS_MAX, DEFAULT_ADDRESS, GOODBYE_TIMEOUT, HEAD_TIMEOUT, LiveServer, STALL_TIMEOUT,
    },
    stream_guard::RECHECK_INTERVAL,
    trace_list::LIST_INTERVAL,
};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use crate::init::{InitGuard, init};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use crate::store::{
    DEFAULT_REDIS_CONNECT_TIMEOUT, DEFAULT_REDIS_DEAD_AFTER, DEFAULT_REDIS_HEARTBEAT,
    DEFAULT_REDIS_PREFIX, DEFAULT_REDIS_RESPONSE_TIMEOUT, RedisEventStore, RedisEventStoreBuilder,
};
pub use crate::{
    engine::log::{Status, StoreHealth},
    error::Error,
    ingest::buffer::{DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS},
    log::{
        batch::{Batch, BatchRecord, StoredEvent},
        event::{Pin, SseEvent, StreamKey},
        retention::{
            DEFAULT_RETENTION_AGE, DEFAULT_RETENTION_BYTES, DEFAULT_RETENTION_EVENTS,
            RETENTION_PINNED_BYTES_MAX, RETENTION_PINNED_EVENTS_MAX, Retention,
        },
    },
    reader::subscription::{Event, Message, Subscribe, Subscription},
    sse::{
        body::{PING_INTERVAL, SseBody, UNKNOWN_TIMEOUT, resume_point},
        target::{PAYLOAD_BYTES_MAX, SseTarget, SseTargetBuilder},
    },
    store::{
        Abandoned, Appended, DEFAULT_PATIENCE, EventStore, Follow, HeadFuture, Life,
        MemoryEventStore, NullEventStore, PageLimit, ReadFuture, SharedTail, StoredStream,
        StreamsFuture, Tended,
    },
    wire::{
        control::{Dropped, EndReason, Gap},
        id::{Epoch, EventId, ResumePoint, Sequence},
    },
};

/// The README's own code, compiled.
#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../README.md")]
struct Readme;
