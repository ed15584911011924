//! What every room uses.

pub(crate) mod block_on;
pub(crate) mod hash;
pub(crate) mod sync;
pub(crate) mod time;
