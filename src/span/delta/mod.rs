//! delta.

pub(crate) mod slots;
