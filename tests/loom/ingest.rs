//! Mounts the files of `ingest` that a model needs.

#[path = "../../src/ingest/buffer/mod.rs"]
pub(crate) mod buffer;
#[path = "../../src/ingest/write_buf.rs"]
pub(crate) mod write_buf;
