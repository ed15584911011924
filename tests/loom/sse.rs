//! The files of the log that a model needs.

#[path = "../../src/sse/control.rs"]
pub(crate) mod control;
#[path = "../../src/sse/event.rs"]
pub(crate) mod event;
#[path = "../../src/sse/frame.rs"]
pub(crate) mod frame;
#[path = "../../src/sse/id.rs"]
pub(crate) mod id;
#[path = "../../src/sse/intake.rs"]
pub(crate) mod intake;
#[path = "../../src/sse/keys.rs"]
pub(crate) mod keys;
#[path = "../../src/sse/room.rs"]
pub(crate) mod room;
