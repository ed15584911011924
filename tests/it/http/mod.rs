//! The HTTP surface as clients see it: routes, streams, mounting, access, and the life of the server.

mod abuse;
mod access;
mod addresses;
pub(crate) mod app;
#[cfg(feature = "dashboard")]
mod assets;
mod auth;
mod clocks;
mod ending;
mod event_search;
pub(crate) mod evicted;
mod filters;
#[cfg(feature = "tracing")]
mod init;
mod inside;
mod keep;
mod large_lists;
mod large_traces;
mod late_starts;
mod lifecycle;
mod list;
mod logs;
mod mounting;
mod operations;
mod origins;
mod otlp;
mod own_requests;
mod panicked;
mod restricted;
mod routes;
mod snapshot;
mod stream_limits;
mod until_end;
mod views;
