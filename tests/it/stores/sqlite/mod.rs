//! `SqliteEventStore`, promise by promise.

mod child;
mod conformance;
mod faults;
mod followers;
mod killed;
mod lives;
pub(crate) mod log;
mod opening;
mod pins;
mod retention;
mod streams;
mod text;
