//! Watch your program run: every OpenTelemetry span is streamed to a browser the moment it starts, while it changes, and
//! when it ends, from a log that can be replayed.
//!
//! # Pick your way in
//!
//! | you have | you use |
//! | --- | --- |
//! | five minutes | [`init()`]: provider, `tracing` subscriber and page in one line |
//! | a registry of `tracing-subscriber` | [`layer()`]: one line; console and filters stay |
//! | an app with a tracer provider | [`LiveSpans::tracer_provider`] and [`LiveSpans::serve_in_background`] |
//! | an axum app | [`LiveSpans::router`], nested under any prefix |
//! | async code that is cancelled | [`LiveFutureExt::live`] instead of `.instrument(span)` |
//! | a test that fails | `trace_test!`: prints the spans that were open, and writes a file that replays the test |
//! | customers who wait for their job | [`LiveSpans::respond`] behind your own route, through a [`View`] |
//! | a durable workflow engine | the module `workflow` |
//! | events that are no spans | [`SseTarget`], with no feature at all |
//! | storage of your own | the trait [`EventStore`] |
//!
//! ```
//! use livespan::LiveSpans;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//!
//! let live = LiveSpans::builder().build()?;
//! let provider = live.tracer_provider(SdkTracerProvider::builder()); // your exporter, your sampler
//! let server = live.serve_in_background("127.0.0.1:0")?;
//! println!("dashboard: {}", server.url());
//! # provider.shutdown().ok();
//! # live.shutdown()?;
//! # Ok::<(), livespan::Error>(())
//! ```
//!
//! **The guide** is the module `_guide`: an app of your own, exporters and sampling, a customer's page, workflows,
//! stores, production, the wire format, the routes, limits and costs.
//!
//! # Modules
//!
//! The root has what an app names. The rest is in modules:
//!
//! | module | what |
//! | --- | --- |
//! | [`sse`] | the event log: dispatch events of any type, subscribe, answer a request with an SSE stream |
//! | [`store`] | the storage of a log: the [`EventStore`] trait, its stores, [`Retention`] |
//! | `span` | the span event |
//! | `trace` | an ended trace, as `LiveSpans::on_trace_end` passes it to a function of the app |
//! | `otel` | the plug-in into the OpenTelemetry SDK: provider, processors, sampler, filters |
//! | `otlp` | the receiver of OTLP, and the import of files with traces |
//! | `access` | who may read, and what a customer's view hides |
//! | `workflow` | instances of a durable workflow, each as one trace |
//! | `local_workflow` | a small workflow engine within the process |
//! | `testing` | a record of a test's spans, for a test that fails |
//!
//! # Features
//!
//! | feature | default | what |
//! | --- | --- | --- |
//! | `spans` | yes | [`LiveSpans`] and everything that uses OpenTelemetry |
//! | `http` | yes | routes and server; brings `spans` |
//! | `dashboard` | yes | the page; brings `http` |
//! | `tracing` | yes | [`init()`] and [`layer()`]; brings `http` |
//! | `logs` | yes | `LiveSpans::log_processor`: log records of the SDK's logger provider; brings `spans` |
//! | `internal-logs` | yes | one warning for each cause of a problem, in the SDK's own log; brings `spans` |
//! | `mcp` | yes | `POST /mcp`: the running spans and their problems, for coding agents; brings `http` |
//! | `otlp` | | accepts spans and logs of other programs by OTLP over HTTP; brings `http` |
//! | `otlp-grpc` | | accepts them by gRPC, too, on the same port; brings `otlp` |
//! | `testing` | | `trace_test!`: a file that replays a failed test; brings `dashboard` and `tracing` |
//! | `metrics` | | `LiveSpans::observe_with`; brings `spans` |
//! | `sqlite` | | `SqliteEventStore`, with the SQLite that the program links |
//! | `sqlite-bundled` | | `sqlite`, with SQLite compiled in |
//! | `redis` | | `RedisEventStore` |
//!
//! Without any feature, the crate is only the event log: the modules [`sse`] and [`store`].
#![cfg_attr(docsrs, feature(doc_cfg))]
// This code runs inside someone else's process: it never panics or exits, and only `init()`, `layer()`,
// `LiveSpans::dump_on_signal` and the module `testing` print. Tests may do all of this.
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

// The pages of the guide link to items of these features.
#[cfg(all(any(doc, doctest), feature = "dashboard", feature = "tracing"))]
pub mod _guide;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod access;
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
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod local_workflow;
mod log;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod otel;
#[cfg(feature = "otlp")]
#[cfg_attr(docsrs, doc(cfg(feature = "otlp")))]
pub mod otlp;
mod reader;
#[cfg(feature = "http")]
mod report;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod span;
pub mod sse;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod trace;
mod util;
mod wire;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub mod workflow;

#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use {opentelemetry, opentelemetry_sdk};

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use crate::http::server::LiveServer;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use crate::init::{InitGuard, init, layer};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use crate::store::RedisEventStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use crate::store::SqliteEventStore;
#[cfg(feature = "spans")]
#[cfg_attr(docsrs, doc(cfg(feature = "spans")))]
pub use crate::{
    access::{Access, Auth, Redaction, View},
    live_spans::{LiveSpans, LiveSpansBuilder, current_trace_id},
    otel::{
        LiveFutureExt, LiveSampler, LiveSpanProcessor, LiveTracerProvider, SampledOnly,
        panic_hook::panic_hook,
    },
    span::{SpanEvent, SpanId, TraceId},
};
pub use crate::{
    error::Error,
    sse::{SseEvent, SseTarget},
    store::{EventStore, MemoryEventStore, NullEventStore, Retention},
};

/// Compiles the code of the README.
#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../README.md")]
struct Readme;
