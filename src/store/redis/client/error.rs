//! The errors of calls to Redis, in words for an operator. No message contains a password.

use std::{error::Error as StdError, fmt};

use redis::{ErrorKind, RedisError};

use crate::{error::Error, store::redis::config::Settings};

const WRONG_PASSWORD: &str = "Redis refuses the user or the password";
const LACKS: &str = "the Redis user lacks a permission";

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    pub(crate) kind: StoreErrorKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    /// No reply came. The call may nevertheless have had its effect.
    Connection,
    /// A new epoch of the log is about to begin.
    Forming,
    /// The user lacks a permission.
    Permission,
    /// The server refused the call.
    Refused,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for StoreError {}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Returns whether the user lacks the permission for this command only.
    pub(crate) fn is_missing_command_permission(&self) -> bool {
        self.kind == StoreErrorKind::Permission && self.text.starts_with(LACKS)
    }

    /// Returns the error for a reply of unexpected form.
    pub(crate) fn unexpected() -> Self {
        Self::new(
            StoreErrorKind::Refused,
            "the server's reply does not have the expected form",
        )
    }

    pub(crate) fn of(error: &RedisError, place: &str, settings: &Settings) -> Self {
        let detail = settings.redact(error.to_string());
        let code = error.code().unwrap_or_default();
        let reply = detail_of(error, &detail);
        let (kind, text) = match code {
            "FORMING" => (StoreErrorKind::Forming, reply.to_owned()),
            "OOM" => (
                StoreErrorKind::Refused,
                "Redis is full: its maxmemory is reached and its policy evicts nothing".to_owned(),
            ),
            "LOADING" => (
                StoreErrorKind::Refused,
                "Redis is still loading its data".to_owned(),
            ),
            "READONLY" => (
                StoreErrorKind::Refused,
                "this Redis is a replica and accepts no writes".to_owned(),
            ),
            "MISCONF" => (
                StoreErrorKind::Refused,
                "Redis refuses writes because it cannot save to its disk".to_owned(),
            ),
            "NOREPLICAS" => (
                StoreErrorKind::Refused,
                "Redis refuses writes because it has too few replicas".to_owned(),
            ),
            "BUSY" => (
                StoreErrorKind::Refused,
                "Redis is busy with a script".to_owned(),
            ),
            "MASTERDOWN" | "CLUSTERDOWN" => (
                StoreErrorKind::Refused,
                format!("the Redis cluster is down: {reply}"),
            ),
            "NOAUTH" if !settings.has_password() => (
                StoreErrorKind::Permission,
                "Redis asks for a password, and the URL has none".to_owned(),
            ),
            "WRONGPASS" | "NOAUTH" => (StoreErrorKind::Permission, WRONG_PASSWORD.to_owned()),
            "NOPERM" => (StoreErrorKind::Permission, format!("{LACKS}: {reply}")),
            _ => Self::without_code(error, &detail, settings),
        };
        Self {
            kind,
            text: format!("{text} ({place})"),
        }
    }

    fn without_code(
        error: &RedisError,
        detail: &str,
        settings: &Settings,
    ) -> (StoreErrorKind, String) {
        if error.kind() == ErrorKind::AuthenticationFailed {
            return (StoreErrorKind::Permission, WRONG_PASSWORD.to_owned());
        }
        if matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType
        ) {
            let text = "the server does not speak the Redis protocol".to_owned();
            return (StoreErrorKind::Connection, text);
        }
        if error.is_timeout() {
            let doubt = if settings.is_tls() {
                "; the URL asks for TLS (rediss://): does the port use it?"
            } else {
                ""
            };
            let text = format!("Redis did not answer in time{doubt}");
            return (StoreErrorKind::Connection, text);
        }
        if error.is_io_error() {
            return (
                StoreErrorKind::Connection,
                format!("no connection to Redis: {detail}"),
            );
        }
        (StoreErrorKind::Refused, detail.to_owned())
    }

    pub(crate) fn into_error(self, doing: &'static str) -> Error {
        Error::store(doing, self)
    }
}

/// Returns the text of the server's error after its code.
fn detail_of<'a>(error: &'a RedisError, otherwise: &'a str) -> &'a str {
    error.detail().unwrap_or(otherwise)
}
