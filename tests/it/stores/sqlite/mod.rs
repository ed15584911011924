//! Tests of `SqliteEventStore`, one promise each.

mod carried;
mod child;
mod conformance;
mod damage;
mod faults;
mod followers;
mod killed;
mod lives;
pub(crate) mod log;
mod names;
mod opening;
mod permissions;
mod pins;
mod retention;
mod streams;
mod text;
mod vanishing;
