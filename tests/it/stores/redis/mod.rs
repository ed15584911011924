//! The store in Redis, against real servers: each test starts its own and stops it.

mod access;
mod conformance;
mod damage;
mod handle;
mod lives;
mod lost;
mod outage;
mod pins;
mod proxy;
mod reads;
pub(crate) mod server;
