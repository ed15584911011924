//! What every room uses.

#![cfg_attr(
    not(feature = "spans"),
    expect(dead_code, reason = "the span layer alone uses parts of it")
)]

pub(crate) mod block_on;
pub(crate) mod hash;
pub(crate) mod sync;
pub(crate) mod time;
