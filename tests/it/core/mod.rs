//! The event log from outside: dispatch, replay, gaps, pins, faults. Each module tests one claim.

mod carried;
mod connection;
mod dispatch;
mod ended;
mod faults;
mod history;
mod idle_streams;
mod overload;
mod pins;
mod property;
mod resume;
mod retention;
mod shared;
pub(crate) mod stores;
mod streams;
mod test_event;
mod wire;
