//! The span event: its model, its binary record, its JSON.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "read over HTTP only")
)]

pub(crate) mod delta;
pub(crate) mod dropped_ends;
pub(crate) mod event;
pub(crate) mod json;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod redact;
pub(crate) mod self_requests;
