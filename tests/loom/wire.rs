//! Mounts the files of `wire` that a model needs.

#[path = "../../src/wire/control.rs"]
pub(crate) mod control;
#[path = "../../src/wire/frame.rs"]
pub(crate) mod frame;
#[path = "../../src/wire/id.rs"]
pub(crate) mod id;
