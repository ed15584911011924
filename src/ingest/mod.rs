//! The buffer between the host's threads and the worker.

#![cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "metrics alone read some counts")
)]

pub(crate) mod buffer;
pub(crate) mod envelope;
pub(crate) mod write_buf;
