//! Event stores against their contract, and the contract's suite against stores that break it.

mod built_in;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod reference;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod suite;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod tail;
#[cfg(all(feature = "http", any(feature = "sqlite", feature = "redis")))]
mod whole;
