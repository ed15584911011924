//! The HTTP surface: routes, access, server. It alone knows status codes and headers.
//!
//! [`service`] takes a request apart, [`guard`] decides whether it is answered, [`params`] reads its query; [`traces`],
//! [`snapshot`] and [`otlp`] answer it; [`server`] listens.

pub(crate) mod guard;
pub(crate) mod otlp;
pub(crate) mod params;
pub(crate) mod reply;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod traces;
