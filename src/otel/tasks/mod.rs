//! Shows how the spans of `tracing` are polled. A layer counts polls on the host's threads, and the thread
//! `livespan-tasks` reads the counts every [`SAMPLE_INTERVAL`](watcher::SAMPLE_INTERVAL). So a poll costs two reads of
//! the clock and a few additions, and a poll that blocks a worker of a tokio runtime is noticed while it lasts.
//!
//! This does not need `tokio_unstable`: [`runtimes`] reads only stable metrics.

mod clock;
mod entered;
mod layer;
mod misuse;
mod runtimes;
mod span_polls;
mod watcher;

pub use self::layer::TaskLayer;
