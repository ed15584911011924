//! What is on the wire: ids, frames, control events.

pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod id;
