//! The failure of a command: a message for people, and an exit code for scripts.

use std::{error::Error, fmt, process::ExitCode};

/// The exit code of a command that failed.
const FAILED: u8 = 1;
/// The exit code of a wrong command line, configuration or request. `clap` uses the same.
const USAGE: u8 = 2;

/// The exit code of a command that gets no usable response from a livespan.
const UNREACHABLE: u8 = 3;

/// A message for a person, and an exit code for a script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command line was valid, but the command failed: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with_code(FAILED, message)
    }

    /// The command line, the configuration or a request was invalid: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with_code(USAGE, message)
    }

    /// No livespan at the address gives a usable response: exit code 3.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::with_code(UNREACHABLE, message)
    }

    /// The command failed, and its exit code has a special meaning.
    pub(crate) fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// `tried` failed because of this error: exit code 1.
    pub(crate) fn of(tried: &str, error: &(dyn Error + 'static)) -> Self {
        Self::new(format!("failed to {tried}: {}", with_causes(error)))
    }

    pub(crate) fn code(&self) -> ExitCode {
        self.code.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns the messages of the error and its causes, on one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text.push_str(": ");
        text.push_str(&one.to_string());
        cause = one.source();
    }
    text
}
