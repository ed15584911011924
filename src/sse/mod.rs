//! sse.

pub(crate) mod body;
pub(crate) mod target;
