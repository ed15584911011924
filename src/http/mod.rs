//! The HTTP surface: routes, access, server. It alone knows status codes and headers.
//!
//! [`service`] takes a request apart; [`guard`] and [`origin`] decide whether it is answered, [`login`] lets browsers in;
//! [`params`] reads its query; [`traces`], [`snapshot`] and [`otlp`] answer it, streams for as long as [`lasting`] allows;
//! [`server`] listens.

pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod login;
pub(crate) mod otlp_json;
pub(crate) mod query_params;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod stream_guard;
pub(crate) mod trace_list;
pub(crate) mod trace_snapshot;
