//! The store in Redis, against real servers: each test starts and stops its own.

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
