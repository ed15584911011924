//! What an event log is made of.

pub(crate) mod batch;
pub(crate) mod block;
pub(crate) mod dedup;
pub(crate) mod event;
pub(crate) mod retention;
pub(crate) mod stream_index;
pub(crate) mod tail;
