//! Event stores against their contract, and the contract's suite against stores that break it.

#[cfg(feature = "sqlite")]
mod sqlite;
