//! The store in Redis, against real servers: each test starts and stops its own.

mod access;
mod carried;
mod conformance;
mod damage;
mod handle;
mod lives;
mod lost;
mod outage;
mod pins;
mod proxy;
mod reads;
mod running;
pub(crate) mod server;
