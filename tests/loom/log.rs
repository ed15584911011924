//! The files of `log` that a model needs.

#[path = "../../src/log/event.rs"]
pub(crate) mod event;
#[path = "../../src/log/stream_index.rs"]
pub(crate) mod stream_index;
