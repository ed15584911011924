//! Event stores against their contract, and the contract's suite against stores that break it.

#[cfg(feature = "testing")]
mod built_in;
#[cfg(all(feature = "redis", feature = "testing"))]
mod redis;
#[cfg(feature = "testing")]
mod reference;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "testing")]
mod suite;
