//! Helpers for every module: locks, time, hashing, hexadecimal digits, queries, and blocking on a future. They do not
//! depend on events or spans.

#![cfg_attr(
    not(feature = "spans"),
    expect(dead_code, reason = "without `spans`, nothing uses some parts")
)]

pub(crate) mod block_on;
pub(crate) mod hash;
pub(crate) mod hex;
pub(crate) mod query;
pub(crate) mod sync;
pub(crate) mod time;
