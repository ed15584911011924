//! Mounts the files of `span` that a model needs.

#[path = "delta.rs"]
pub(crate) mod delta;
#[path = "updates.rs"]
pub(crate) mod updates;
