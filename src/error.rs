//! The one error type of the crate: opaque, with questions a caller can act on and the cause as `source()`.
//! It never prints and never carries a type of an optional dependency in its signature.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// What went wrong in a call to livespan.
///
/// The message is a lowercase fragment that fits after "failed to …:"; the cause, when there is one, is the
/// [`source`](StdError::source).
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed,
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

    /// Returns whether the buffer had no room; the event was counted as dropped.
    pub fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// Returns whether an argument was refused; trying again with the same argument is pointless.
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Returns whether the event store failed; a later call may succeed.
    pub fn is_store(&self) -> bool {
        self.kind == Kind::Store
    }

    /// Returns whether a time limit passed before the work was done.
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// Makes the error that an [`EventStore`](crate::EventStore) returns for its own failure.
    ///
    /// ```
    /// let error = livespan::Error::store("append to orders.log", std::io::Error::other("disk is full"));
    /// assert!(error.is_store());
    /// ```
    pub fn store(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind: Kind::Store,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    pub(crate) fn closed() -> Self {
        Self::bare(Kind::Closed, "the event log is shut down")
    }

    /// The log ended by itself.
    pub(crate) fn ended(why: &'static str) -> Self {
        Self::bare(Kind::Closed, why)
    }

    pub(crate) fn full() -> Self {
        Self::bare(
            Kind::Full,
            "the buffer is full; the event was dropped and counted",
        )
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
        Self {
            kind: Kind::Io,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    fn bare(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }
}

/// The message as it is displayed, because what `main` returns is shown to people in this form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The cause is part of the message, because most programs print an error without walking its sources.
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
