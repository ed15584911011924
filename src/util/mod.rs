//! Helpers that every module uses: locks, time, hashing, futures on a thread. They know nothing of events or spans.

#![cfg_attr(
    not(feature = "spans"),
    expect(dead_code, reason = "the span layer alone uses parts of it")
)]

pub(crate) mod block_on;
pub(crate) mod hash;
pub(crate) mod hex;
pub(crate) mod query;
pub(crate) mod sync;
pub(crate) mod time;
