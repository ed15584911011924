//! Futures that report more about their span than the SDK can see: how they end, and which
//! operation they wait for.

pub(crate) mod awaiting;
pub(crate) mod live_future;
pub(crate) mod pending_awaits;
pub(crate) mod poll_times;

pub use crate::otel::futures::{
    awaiting::AwaitingFuture,
    live_future::{LiveFuture, LiveFutureExt, SpanHandle},
};
