//! The HTTP surface: routes, access, server. Only this folder knows status codes and headers.
//!
//! [`router`] takes a request apart. [`auth`] decides whether it is answered and what its sender may read: [`auth::authorize`]
//! answers 401 and 403 by what the app said of readers, [`auth::host_check`] by the `Host`, [`auth::cors`] by the page that
//! makes a browser ask, and [`auth::login`] lets browsers in. [`routes`] has one file for each family of routes.
//! [`task_body`] is an answer that is written page by page, [`stream_guard`] ends a stream when its reader may no longer read. [`server`] listens.

pub(crate) mod auth;
#[cfg(feature = "dashboard")]
pub(crate) mod blocking;
pub(crate) mod error;
pub(crate) mod query_params;
pub(crate) mod request_line;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod stream_guard;
pub(crate) mod task_body;
