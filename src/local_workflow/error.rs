//! The errors of a local workflow: why a step failed, and why the engine refused a call. They hold text only.

use std::{error::Error, fmt};

use crate::workflow::outcome::Failure;

/// The failure of a local workflow's wait, or of a step after its last attempt. It holds the error of the step's work
/// and the error's sources as text, because a durable engine could also store them only as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    pub(crate) failure: Failure,
    pub(crate) timed_out: bool,
}

impl StepError {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            failure,
            timed_out: false,
        }
    }

    pub(crate) fn timed_out(message: String) -> Self {
        Self {
            failure: Failure::new(message),
            timed_out: true,
        }
    }

    /// Returns whether the step's last attempt, or the wait, timed out.
    pub fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Returns the failure that the step's span shows.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl Error for StepError {}

/// The reason for which the engine refused a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine does not know this instance: it never existed, or it ended and was evicted.
    Unknown,
    /// The instance has ended.
    Over,
    /// An instance with this id exists already.
    Taken,
    /// The maximum number of instances is running, or the maximum number of events waits for the instance.
    Full,
    /// The id or the input of the new instance is invalid, for this reason.
    Invalid(String),
    /// The call was made outside a tokio runtime.
    NoRuntime,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such instance",
            Self::Over => "the instance has ended",
            Self::Taken => "an instance with this id exists already",
            Self::Full => "too many running instances or waiting events: try again later",
            Self::Invalid(why) => why,
            Self::NoRuntime => "no tokio runtime to run the instance on",
        })
    }
}

impl Error for EngineError {}
