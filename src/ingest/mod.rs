//! The buffer between the host's threads and the worker.

pub(crate) mod buffer;
pub(crate) mod envelope;
pub(crate) mod write_buf;
