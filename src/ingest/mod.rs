//! The bounded buffer between the host's threads and the worker thread, and the format of its records. Host threads
//! write into the buffer; a write must never block or allocate. The worker thread empties it.

#![cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "only metrics read some counts")
)]

pub(crate) mod buffer;
pub(crate) mod envelope;
pub(crate) mod write_buf;
