//! Mounts the files of `log` that a model needs.

#[path = "../../src/log/event.rs"]
pub(crate) mod event;
#[path = "../../src/log/retention.rs"]
pub(crate) mod retention;
#[path = "../../src/log/stream_index/mod.rs"]
pub(crate) mod stream_index;
#[path = "../../src/log/waker.rs"]
pub(crate) mod waker;
