//! What is on the wire: ids, frames, control events.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the live list alone uses parts of it")
)]

pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod id;
