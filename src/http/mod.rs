//! The HTTP surface: routes, access, server. Only this folder chooses the status of an error. The
//! headers of an event stream are in `sse::body`.
//!
//! [`router`] receives a request. The files of [`auth`] decide whether to answer it and what its
//! sender may read: [`auth::authorize`] by the app's access settings (401 and 403),
//! [`auth::host_check`] by the `Host` and the client's address, [`auth::cors`] by the page that
//! caused the request. [`auth::login`] signs browsers in. [`routes`] has a file or folder for each
//! family of routes. [`task_body`] is a response that is written piece by piece. [`stream_guard`] ends a
//! stream when its reader may no longer read. [`server`] listens, and [`connection`] serves one
//! client.

pub(crate) mod auth;
#[cfg(any(feature = "dashboard", feature = "otlp"))]
pub(crate) mod blocking;
mod connection;
pub(crate) mod error;
pub(crate) mod event_filter;
pub(crate) mod query_params;
pub(crate) mod request_line;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod stream_guard;
pub(crate) mod task_body;
