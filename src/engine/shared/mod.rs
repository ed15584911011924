//! A log whose store other processes append to as well: [`demand`] knows which streams are wanted, [`follower`] runs
//! the two threads that read foreign events, and [`merge`] adds them to the tail in the order of the log.

pub(crate) mod blocked_readers;
pub(crate) mod demand;
pub(crate) mod follower;
pub(crate) mod merge;
