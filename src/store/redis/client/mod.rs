//! How this process talks to Redis: a connection, the scripts, their replies, and what can go wrong.

pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod reply;
pub(crate) mod scripts;
