//! shared.

pub(crate) mod demand;
pub(crate) mod follower;
pub(crate) mod merge;
