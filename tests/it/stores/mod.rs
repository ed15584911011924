//! Event stores against the conformance suite, and the suite against stores that break a promise.

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
