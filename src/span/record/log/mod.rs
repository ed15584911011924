//! The binary form of a log record in the buffer. The host's thread writes it, the worker reads it.

#[cfg(feature = "logs")]
mod any_value;
mod layout;
#[cfg(feature = "tracing")]
mod pairs;
mod read;
#[cfg(any(feature = "logs", feature = "tracing"))]
mod write;

#[cfg(feature = "tracing")]
pub(crate) use self::pairs::{LogPairs, write_log_pairs};
#[cfg(any(feature = "logs", feature = "tracing"))]
pub(crate) use self::write::LogHead;
#[cfg(feature = "logs")]
pub(crate) use self::write::write_log;
