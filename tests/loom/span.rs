//! Mounts the files of `span` that a model needs.

#[path = "delta.rs"]
pub(crate) mod delta;
