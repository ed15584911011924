//! What is said of a step before it runs: how often it is tried, how long it may take, what it waits for.

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

/// How the pause before an attempt grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// It is always the same.
    #[default]
    Constant,
    /// It grows by the first pause each time.
    Linear,
    /// It doubles each time.
    Exponential,
}

/// A step that works, before it runs. A name alone is one, too: it is tried once, and takes as long as it takes.
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

/// How a step is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    retries: u32,
    delay: Duration,
    backoff: Backoff,
    timeout: Option<Duration>,
}

impl StepOptions {
    /// Names a step.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            step: Step::new(name),
            attempts: Attempts::default(),
        }
    }

    /// Tries it again after a failure, at most so often; by default never.
    pub fn retries(mut self, retries_max: u32) -> Self {
        self.attempts.retries = retries_max;
        self
    }

    /// Pauses so long before the second attempt; by default not at all.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.attempts.delay = delay;
        self
    }

    /// Says how the pause grows from attempt to attempt, up to a day; by default it is [constant](Backoff::Constant).
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.attempts.backoff = backoff;
        self
    }

    /// Gives up each attempt after this time: its future is dropped, and the attempt has failed.
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

/// A step that waits for an event, before it runs. A name alone is one, too: it waits for the event of that name, as
/// long as the instance lives.
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
    /// Names a step, and the event that it waits for.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            event: name.clone(),
            step: Step::new(name),
            timeout: None,
        }
    }

    /// Names the event, if it is not called like the step.
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = event.into();
        self.step = self.step.event(self.event.clone());
        self
    }

    /// Fails when the event has not come after this time.
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

/// What a step gives; its span says what its work failed of, not how we wrap that.
pub(crate) struct StepResult<T>(pub(crate) Result<T, StepError>);

impl<T> Outcome<marker::Plain> for StepResult<T> {
    fn failed(&self) -> Option<crate::workflow::outcome::Failure> {
        self.0.as_ref().err().map(|error| error.failure.clone())
    }
}

impl Attempts {
    /// Tries until it succeeds or there is no further attempt.
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
                .map_err(|_elapsed| timed_out_after("the attempt was not done", timeout))?,
        };
        result
            .map_err(StepError::failed)?
            .map_err(|error| StepError::failed(error.failure()))
    }

    /// How long to pause after so many retries.
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

/// Pauses on tokio's clock; one that never ends for a duration that no clock can count.
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
    fn pauses_grow_as_told_and_stay_bounded() {
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
