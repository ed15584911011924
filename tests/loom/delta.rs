//! Mounts the files of `span::delta` that a model needs.

#[path = "../../src/span/delta/slots.rs"]
pub(crate) mod slots;
