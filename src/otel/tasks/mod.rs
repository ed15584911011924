//! How the spans of `tracing` are polled: a layer counts on the host's threads, and the thread `livespan-tasks` looks
//! every [`LOOK_INTERVAL`](watcher::LOOK_INTERVAL) at what it counted. So a poll costs two looks at the clock and a few
//! additions, and a poll that blocks a worker of a tokio runtime is noticed while it does.
//!
//! Nothing of this needs `tokio_unstable`. [`runtimes`] reads the metrics that are stable.

mod clock;
mod entered;
mod layer;
mod misuse;
mod runtimes;
mod span_polls;
mod watcher;

pub use self::layer::TaskLayer;
