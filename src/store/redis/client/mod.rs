//! The client side of Redis: a connection, the scripts, their replies, and the errors of calls.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod reply;
pub(crate) mod scripts;
