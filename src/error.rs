//! The crate's only error type. It is opaque: callers use methods such as `is_closed()`, and `source()` returns the
//! cause. No signature here names a type of an optional dependency.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// The error of a call to livespan.
///
/// [`Display`](fmt::Display) writes the message alone, in lowercase and without a full stop. If an operation failed,
/// the message usually names it, and fits after "failed to". The cause, if there is one, is the
/// [`source`](StdError::source). [`Debug`](fmt::Debug), which a `main` that returns the error
/// prints, writes the message and its causes on one line. It ends with the first cause that is not livespan's own.
///
/// ```
/// use std::error::Error as _;
///
/// let error = livespan::Error::store("append to orders.log", std::io::Error::other("disk is full"));
/// assert_eq!(error.to_string(), "append to orders.log");
/// assert_eq!(error.source().unwrap().to_string(), "disk is full");
/// assert_eq!(format!("{error:?}"), "append to orders.log: disk is full");
/// ```
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed,
    Duplicate,
    Full,
    Invalid,
    Store,
    Io,
    Timeout,
}

impl Error {
    /// Returns whether the log was shut down, so that no later call can succeed.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Returns whether the buffer had no room. The event was then counted as dropped.
    pub fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// Returns whether the log already keeps the event. This copy was not stored.
    pub fn is_duplicate(&self) -> bool {
        self.kind == Kind::Duplicate
    }

    /// Returns whether an argument or a setting was invalid. A second call with the same value fails, too.
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Returns whether the event store failed. A later call may succeed.
    pub fn is_store(&self) -> bool {
        self.kind == Kind::Store
    }

    /// Returns whether a call to the operating system failed: to bind an address or to start a thread, for example.
    pub fn is_io(&self) -> bool {
        self.kind == Kind::Io
    }

    /// Returns whether a time limit passed before the work was done.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// Creates the error that an [`EventStore`](crate::EventStore) returns for its own failure.
    ///
    /// ```
    /// let error = livespan::Error::store("append to orders.log", std::io::Error::other("disk is full"));
    /// assert!(error.is_store());
    /// ```
    pub fn store(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::bare(Kind::Store, message).caused_by(source)
    }

    pub(crate) fn closed() -> Self {
        Self::bare(Kind::Closed, "the event log is shut down")
    }

    /// Returns the error of a log that ended without a shutdown. `why` is the reason.
    pub(crate) fn ended(why: &'static str) -> Self {
        Self::bare(Kind::Closed, why)
    }

    pub(crate) fn full() -> Self {
        Self::bare(
            Kind::Full,
            "the buffer is full; the event was dropped and counted",
        )
    }

    pub(crate) fn duplicate() -> Self {
        Self::bare(Kind::Duplicate, "the log keeps this event already")
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bare(Kind::Invalid, message)
    }

    pub(crate) fn timeout(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bare(Kind::Timeout, message)
    }

    pub(crate) fn store_failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bare(Kind::Store, message)
    }

    pub(crate) fn io(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::bare(Kind::Io, message).caused_by(source)
    }

    /// Returns the message and its causes on one line, for status, diagnostics and responses. It ends with the first
    /// cause of another type, because the causes of such an error usually repeat its message in other words.
    pub(crate) fn with_causes(&self) -> String {
        match &self.source {
            None => self.message.clone().into_owned(),
            Some(source) => match source.downcast_ref::<Self>() {
                Some(cause) => format!("{}: {}", self.message, cause.with_causes()),
                None => format!("{}: {source}", self.message),
            },
        }
    }

    /// Adds the cause.
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    fn bare(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }
}

/// Writes the message with its causes, because an error that `main` returns is printed with `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_causes())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
