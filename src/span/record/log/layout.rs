//! The layout of a log record: the flags for the parts that follow the head. Writers and reader
//! share it.

/// Tag, flags, parts, severity (4 bytes), source (4), ids (24), times (16), number of attributes (4).
#[cfg(any(feature = "logs", feature = "tracing"))]
pub(super) const LOG_HEAD: usize = 52;

/// The texts that follow the head.
pub(super) const HAS_TARGET: u8 = 1;
pub(super) const HAS_SCOPE: u8 = 2;
pub(super) const HAS_EVENT_NAME: u8 = 4;
pub(super) const HAS_SEVERITY_TEXT: u8 = 8;

/// A value follows the texts: the body.
pub(super) const HAS_BODY: u8 = 16;

/// The attribute [`MESSAGE`] is the body.
pub(super) const MESSAGE_IS_BODY: u8 = 32;

/// The field of a `tracing` event that holds its text.
pub(super) const MESSAGE: &str = "message";
