//! Why a command did not do what it was asked for, and the exit code that says so to scripts.

use std::{error::Error, fmt, process::ExitCode};

/// The exit code of a command that failed.
const FAILED: u8 = 1;
/// The exit code of a command that was called wrongly. `clap` uses the same.
const USAGE: u8 = 2;

/// The exit code of a command whose livespan cannot be asked.
const UNREACHABLE: u8 = 3;

/// A message for a person, and an exit code for a script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command was understood, and failed: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with_code(FAILED, message)
    }

    /// The command was called wrongly: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with_code(USAGE, message)
    }

    /// No livespan answers at the address: exit code 3.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::with_code(UNREACHABLE, message)
    }

    /// The command failed with an exit code that has a meaning of its own.
    pub(crate) fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What was tried failed because of this error: exit code 1.
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

/// Returns the message of the error and of its causes, in one line.
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
