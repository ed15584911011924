//! Log records at a glance, whatever their trace: where the newest ones are, and pages of those that a filter accepts.

#[cfg(feature = "http")]
pub(crate) mod filter;
#[cfg(feature = "http")]
pub(crate) mod page;
pub(super) mod positions;
