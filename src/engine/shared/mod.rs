//! A log whose store is shared with other processes. [`demand`] holds which streams are needed, [`follower`] runs the
//! two threads that read foreign events, and [`merge`] adds them to the tail in the order of the log.
//! [`blocked_readers`] holds the readers whose last read failed.

pub(crate) mod blocked_readers;
pub(crate) mod demand;
pub(crate) mod follower;
pub(crate) mod merge;
