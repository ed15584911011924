//! The span layer: OpenTelemetry spans as events of a log.
//!
//! A span goes down this list: [`processor`] (the SDK's trait), [`record`] (compact bytes), [`translator`] (worker),
//! [`json`] (the wire), and beside it [`index`] (all traces at a glance). [`live`] wires it together.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the list of traces is read over HTTP only")
)]

pub(crate) mod access;
pub(crate) mod durations;
pub(crate) mod event;
pub(crate) mod filter;
pub(crate) mod index;
pub(crate) mod json;
pub(crate) mod lease;
pub(crate) mod live;
pub(crate) mod marks;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod observer;
pub(crate) mod parse;
#[cfg(feature = "http")]
pub(crate) mod partial;
pub(crate) mod parts;
pub(crate) mod peek;
pub(crate) mod preset;
pub(crate) mod process;
pub(crate) mod processor;
#[cfg(test)]
mod property;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod redact;
pub(crate) mod remembered;
pub(crate) mod sampler;
#[cfg(feature = "http")]
pub(crate) mod seal;
#[cfg(feature = "http")]
pub(crate) mod seats;
pub(crate) mod shapes;
pub(crate) mod shown;
pub(crate) mod stored;
pub(crate) mod summary;
pub(crate) mod tally;
pub(crate) mod translator;
pub(crate) mod view;
pub(crate) mod viewers;
pub(crate) mod warn;
