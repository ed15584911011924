//! The record of a log record: written on the host's thread, read on the worker.

#[cfg(feature = "logs")]
mod any_value;
mod layout;
mod read;
#[cfg(feature = "logs")]
mod write;

#[cfg(feature = "logs")]
pub(crate) use self::write::{LogHead, write_log};
