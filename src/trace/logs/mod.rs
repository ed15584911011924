//! The newest log records of all traces: their positions, and pages of the records that a filter
//! accepts.

#[cfg(feature = "http")]
pub(crate) mod filter;
#[cfg(feature = "http")]
pub(crate) mod page;
pub(super) mod positions;
