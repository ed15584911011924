//! The description of a local workflow's step before it runs: its retries, its timeout, the event that it waits for.
//! Its attempts run on the instance's task.

use std::{fmt, future::Future, time::Duration};

use opentelemetry::Value;
use tokio::time::Instant;

use crate::{
    local_workflow::{error::StepError, task::panic_as_failure},
    workflow::{
        outcome::{Cause, Outcome, marker},
        span::StepSpan,
        step::Step,
    },
};

/// The longest pause before an attempt.
const DELAY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How the pause between attempts grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// Every pause is as long as the first.
    #[default]
    Constant,
    /// Each pause is longer than the one before by the length of the first.
    Linear,
    /// Each pause is twice as long as the one before.
    Exponential,
}

/// The options of a step that does work. A name converts into options with one attempt and no timeout.
///
/// ```
/// use std::time::Duration;
/// use livespan::local_workflow::{Backoff, StepOptions};
///
/// let charge = StepOptions::new("charge")
///     .retries(5)
///     .delay(Duration::from_secs(1))
///     .backoff(Backoff::Exponential)
///     .timeout(Duration::from_secs(30));
/// # drop(charge);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct StepOptions {
    pub(crate) step: Step,
    pub(crate) attempts: Attempts,
}

/// The retry options of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    retries: u32,
    delay: Duration,
    backoff: Backoff,
    timeout: Option<Duration>,
}

impl StepOptions {
    /// Creates the options of a step with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            step: Step::new(name),
            attempts: Attempts::default(),
        }
    }

    /// Sets how often the step is tried again after a failure. The default is 0.
    pub fn retries(mut self, retries_max: u32) -> Self {
        self.attempts.retries = retries_max;
        self
    }

    /// Sets the pause before the second attempt. The default is no pause.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.attempts.delay = delay;
        self
    }

    /// Sets how the pause grows from attempt to attempt, up to 24 hours. The default is [`Backoff::Constant`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.attempts.backoff = backoff;
        self
    }

    /// Sets the time limit of each attempt. An attempt that exceeds it fails, and its future is dropped. The default is
    /// no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.attempts.timeout = Some(timeout);
        self
    }

    /// Adds an attribute to the step's span.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.step = self.step.attribute(key.into(), value.into());
        self
    }
}

impl From<&str> for StepOptions {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for StepOptions {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// The options of a step that waits for an event. A name converts into options that wait for the event of that name,
/// without a timeout.
///
/// ```
/// use std::time::Duration;
/// use livespan::local_workflow::WaitOptions;
///
/// let approval = WaitOptions::new("approval").event("order-approved").timeout(Duration::from_secs(3600));
/// # drop(approval);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct WaitOptions {
    pub(crate) step: Step,
    pub(crate) event: String,
    pub(crate) timeout: Option<Duration>,
}

impl WaitOptions {
    /// Creates the options of a step with this name, which waits for the event of the same name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            event: name.clone(),
            step: Step::new(name),
            timeout: None,
        }
    }

    /// Sets the name of the event, if it is not the step's name.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = event.into();
        self.step = self.step.event(self.event.clone());
        self
    }

    /// Sets the time limit. The step fails if the event has not arrived by then. The default is no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.step = self.step.timeout(timeout);
        self
    }
}

impl From<&str> for WaitOptions {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for WaitOptions {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// The output of a step. The step's span shows the failure of the step's work, not the [`StepError`] around it.
pub(crate) struct StepResult<T>(pub(crate) Result<T, StepError>);

impl<T> Outcome<marker::Plain> for StepResult<T> {
    fn failed(&self) -> Option<crate::workflow::outcome::Failure> {
        self.0.as_ref().err().map(|error| error.failure.clone())
    }
}

impl Attempts {
    /// Runs attempts until one succeeds or none is left.
    pub(crate) async fn run<T, E, Way, F>(
        self,
        span: StepSpan,
        mut work: impl FnMut() -> F,
    ) -> StepResult<T>
    where
        F: Future<Output = Result<T, E>>,
        E: Cause<Way>,
    {
        let mut retries = 0;
        loop {
            let error = match self.attempt(&mut work).await {
                Ok(value) => return StepResult(Ok(value)),
                Err(error) => error,
            };
            if retries >= self.retries {
                return StepResult(Err(error));
            }
            span.retry(&error);
            pause(self.delay_before(retries)).await;
            retries += 1;
        }
    }

    async fn attempt<T, E, Way, F>(self, work: &mut impl FnMut() -> F) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, E>>,
        E: Cause<Way>,
    {
        let attempt = panic_as_failure(async { work().await });
        let result = match self.timeout {
            None => attempt.await,
            Some(timeout) => tokio::time::timeout(timeout, attempt)
                .await
                .map_err(|_elapsed| timed_out_after("the attempt did not finish", timeout))?,
        };
        result
            .map_err(StepError::failed)?
            .map_err(|error| StepError::failed(error.failure()))
    }

    /// Returns the pause after this many retries.
    fn delay_before(self, retries: u32) -> Duration {
        let factor = match self.backoff {
            Backoff::Constant => 1,
            Backoff::Linear => retries.saturating_add(1),
            Backoff::Exponential => 2_u32.saturating_pow(retries),
        };
        self.delay.saturating_mul(factor).min(DELAY_MAX)
    }
}

pub(crate) fn timed_out_after(what: impl fmt::Display, after: Duration) -> StepError {
    StepError::timed_out(format!("{what} within {after:?}"))
}

/// Pauses on tokio's clock. The pause never ends if its end is beyond the clock's range.
pub(crate) async fn pause(duration: Duration) {
    match Instant::now().checked_add(duration) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_as_configured_and_stay_bounded() {
        let pauses = |backoff| {
            let work = StepOptions::new("w")
                .delay(Duration::from_secs(2))
                .backoff(backoff);
            [0, 1, 2, 3, u32::MAX].map(|retries| work.attempts.delay_before(retries).as_secs())
        };
        assert_eq!(pauses(Backoff::Constant), [2, 2, 2, 2, 2]);
        assert_eq!(pauses(Backoff::Linear), [2, 4, 6, 8, 86_400]);
        assert_eq!(pauses(Backoff::Exponential), [2, 4, 8, 16, 86_400]);
    }
}
