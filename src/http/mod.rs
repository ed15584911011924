//! The HTTP surface: routes, access, server. It alone knows status codes and headers.
//!
//! [`service`] takes a request apart; [`guard`] and [`origin`] decide whether it is answered, [`login`] lets browsers in;
//! [`params`] reads its query; [`traces`], [`snapshot`] and [`otlp`] answer it, streams for as long as [`lasting`] allows;
//! [`server`] listens.

pub(crate) mod guard;
pub(crate) mod lasting;
pub(crate) mod login;
pub(crate) mod origin;
pub(crate) mod otlp;
pub(crate) mod params;
pub(crate) mod reply;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod traces;
