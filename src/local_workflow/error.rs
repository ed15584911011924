//! Why a step failed, and why a request to the engine was refused.

use std::{error::Error, fmt};

use crate::workflow::outcome::Failure;

/// Why a step of a local workflow failed for good. What its work returned as an error is kept as text, with its
/// sources, as an engine that writes it down would keep it.
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

    /// Returns whether the time of the step's last attempt, or of the wait, was up.
    pub fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Returns what the step's span says.
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

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// It knows no such instance: there never was one, or it ended and made room for others.
    Unknown,
    /// The instance has ended.
    Over,
    /// There is an instance of this id already.
    Taken,
    /// As many instances run as may, or as many events wait for the instance as may.
    Full,
    /// What was given is not what the workflow takes.
    Invalid(String),
    /// There is no tokio runtime here to run the instance.
    NoRuntime,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such instance",
            Self::Over => "the instance has ended",
            Self::Taken => "there is an instance of this id already",
            Self::Full => "there is no room for more: try again later",
            Self::Invalid(why) => why,
            Self::NoRuntime => "there is no tokio runtime here to run the instance",
        })
    }
}

impl Error for EngineError {}
