//! The store in Redis, against real servers: each test starts its own and stops it.

mod conformance;
mod proxy;
pub(crate) mod server;
