//! What went wrong between us and Redis, in words for the one who has to do something about it. No password in them.

use std::{error::Error as StdError, fmt};

use redis::{ErrorKind, RedisError};

use crate::{error::Error, store::redis::config::Settings};

const WRONG_PASSWORD: &str = "Redis refuses the user or the password";
const LACKS: &str = "the Redis user lacks a permission";

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nothing was heard of the server: the call may have had its effect.
    Connection,
    /// A new life of the log begins soon.
    Forming,
    /// The server may do it for others, but not for this user.
    Permission,
    /// The server said no.
    Refused,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Fault {}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Whether the user may do other things.
    pub(crate) fn is_of_one_command(&self) -> bool {
        self.kind == FaultKind::Permission && self.text.starts_with(LACKS)
    }

    /// The answer has not the form that our script gives it.
    pub(crate) fn unexpected() -> Self {
        Self::new(
            FaultKind::Refused,
            "the server answered in a form that is not of Redis",
        )
    }

    pub(crate) fn of(error: &RedisError, place: &str, settings: &Settings) -> Self {
        let detail = settings.redact(error.to_string());
        let code = error.code().unwrap_or_default();
        let said = detail_of(error, &detail);
        let (kind, text) = match code {
            "FORMING" => (FaultKind::Forming, said.to_owned()),
            "OOM" => (
                FaultKind::Refused,
                "Redis is full: its maxmemory is reached and its policy lets nothing go".to_owned(),
            ),
            "LOADING" => (
                FaultKind::Refused,
                "Redis is still loading its data".to_owned(),
            ),
            "READONLY" => (
                FaultKind::Refused,
                "this Redis is a replica and takes no writes".to_owned(),
            ),
            "MISCONF" => (
                FaultKind::Refused,
                "Redis refuses writes because it cannot save to its disk".to_owned(),
            ),
            "NOREPLICAS" => (
                FaultKind::Refused,
                "Redis refuses writes because it has too few replicas".to_owned(),
            ),
            "BUSY" => (FaultKind::Refused, "Redis is busy with a script".to_owned()),
            "MASTERDOWN" | "CLUSTERDOWN" => (
                FaultKind::Refused,
                format!("the Redis cluster is down: {said}"),
            ),
            "NOAUTH" if !settings.has_password() => (
                FaultKind::Permission,
                "Redis asks for a password, and the URL has none".to_owned(),
            ),
            "WRONGPASS" | "NOAUTH" => (FaultKind::Permission, WRONG_PASSWORD.to_owned()),
            "NOPERM" => (FaultKind::Permission, format!("{LACKS}: {said}")),
            _ => Self::without_code(error, &detail, settings),
        };
        Self {
            kind,
            text: format!("{text} ({place})"),
        }
    }

    fn without_code(error: &RedisError, detail: &str, settings: &Settings) -> (FaultKind, String) {
        if error.kind() == ErrorKind::AuthenticationFailed {
            return (FaultKind::Permission, WRONG_PASSWORD.to_owned());
        }
        if matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType
        ) {
            let text = "the server does not speak the protocol of Redis".to_owned();
            return (FaultKind::Connection, text);
        }
        if error.is_timeout() {
            let doubt = if settings.is_tls() {
                "; the URL says TLS (rediss://): does this port?"
            } else {
                ""
            };
            let text = format!("Redis did not answer in time{doubt}");
            return (FaultKind::Connection, text);
        }
        if error.is_io_error() {
            return (
                FaultKind::Connection,
                format!("no connection to Redis: {detail}"),
            );
        }
        (FaultKind::Refused, detail.to_owned())
    }

    pub(crate) fn into_error(self, doing: &'static str) -> Error {
        Error::store(doing, self)
    }
}

/// What the server said after the code.
fn detail_of<'a>(error: &'a RedisError, otherwise: &'a str) -> &'a str {
    error.detail().unwrap_or(otherwise)
}
