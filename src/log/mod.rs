//! The in-memory parts of an event log: events, batches, blocks, the tail of blocks, the stream index, retention and
//! deduplication. They do no I/O and start no thread. The worker thread writes them, readers read them.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing uses some parts")
)]

pub(crate) mod batch;
pub(crate) mod block;
pub(crate) mod dedup;
pub(crate) mod event;
pub(crate) mod retention;
pub(crate) mod stream_index;
pub(crate) mod tail;
pub(crate) mod waker;
