//! What is said of a step before it runs: its name, its kind, and what it waits for.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use opentelemetry::{KeyValue, Value};

use crate::{
    util::time::Timestamp,
    workflow::{attributes, ids::StepKey},
};

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// It works.
    #[default]
    Do,
    /// It waits for a time.
    Sleep,
    /// It waits for an event.
    Wait,
    /// It holds other steps.
    Scope,
}

impl StepKind {
    /// Returns the value of [`attributes::STEP_KIND`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Sleep => "sleep",
            Self::Wait => "wait",
            Self::Scope => "scope",
        }
    }

    /// Whether such a step waits by its nature.
    pub(crate) fn rests(self) -> bool {
        matches!(self, Self::Sleep | Self::Wait)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step before it runs. A name alone is one, too: `"charge"` is `Step::new("charge")`.
///
/// ```
/// use std::time::Duration;
/// use livespan::workflow::Step;
///
/// let step = Step::new("approval").event("order-approved").timeout(Duration::from_secs(3600));
/// assert_eq!(step.name(), "approval");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Step {
    name: String,
    key: Option<String>,
    pub(crate) kind: StepKind,
    until: Option<SystemTime>,
    lasting: Option<Duration>,
    event: Option<String>,
    timeout: Option<Duration>,
    attempt: Option<u32>,
    pub(crate) elsewhere: bool,
    attributes: Vec<KeyValue>,
}

impl Step {
    /// Names a step.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: None,
            kind: StepKind::Do,
            until: None,
            lasting: None,
            event: None,
            timeout: None,
            attempt: None,
            elsewhere: false,
            attributes: Vec::new(),
        }
    }

    /// Sets what the step is known again by, if its engine has a number or a name for it that is the same in every
    /// replay. Without one, it is the name and how often that was used below the same parent, in the order in which the
    /// steps were made: right for every program that makes its steps in the same order each time. Branches that run at once
    /// do not, where one goes on as soon as its own result is there: their steps have keys, or names, or a
    /// [`scope`](crate::workflow::Workflow::scope), that no other branch uses.
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// Says how long a sleep lasts from now, which tells when it wakes up.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.lasting = Some(duration);
        self
    }

    /// Says when a sleep wakes up.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Names the event that a wait is for; by default it is the step's name.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Says after which time a wait gives up.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says which attempt this is, from 1 on, where the engine runs the step again itself. For attempts that you make
    /// yourself see [`StepSpan::retry`](crate::workflow::StepSpan::retry).
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Says that the work goes on elsewhere while the future is dropped, in an activity worker for example: the step is
    /// then shown as running, not as waiting.
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Adds an attribute of your own.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key.into(), value));
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kind.
    pub fn kind(&self) -> StepKind {
        self.kind
    }

    pub(crate) fn of_kind(mut self, kind: StepKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn step_key(&self) -> StepKey {
        match &self.key {
            Some(key) => StepKey::Own(key.clone()),
            None => StepKey::Name(self.name.clone()),
        }
    }

    /// What the end of the step repeats.
    pub(crate) fn lasting_attributes(&self) -> Vec<KeyValue> {
        let mut all = vec![KeyValue::new(attributes::STEP_KIND, self.kind.as_str())];
        if let Some(until) = self.until {
            all.push(time(attributes::SLEEP_UNTIL, until));
        }
        if let Some(lasting) = self.lasting {
            all.push(milliseconds(attributes::SLEEP_DURATION, lasting));
        }
        if self.kind == StepKind::Wait {
            let event = self.event.clone().unwrap_or_else(|| self.name.clone());
            all.push(KeyValue::new(attributes::WAIT_EVENT, event));
        }
        if let Some(timeout) = self.timeout {
            all.push(milliseconds(attributes::WAIT_TIMEOUT, timeout));
        }
        if let Some(attempt) = self.attempt {
            all.push(KeyValue::new(attributes::ATTEMPTS, i64::from(attempt)));
        }
        all.extend(self.attributes.iter().cloned());
        all
    }

    /// What counts from when the step began: only the first start knows it, a replay would say another time.
    pub(crate) fn starting_attributes(&self, start: SystemTime) -> Vec<KeyValue> {
        let moment = |duration: Option<Duration>| duration.and_then(|one| start.checked_add(one));
        let mut all = Vec::new();
        if let Some(until) = moment(self.lasting).filter(|_| self.until.is_none()) {
            all.push(time(attributes::SLEEP_UNTIL, until));
        }
        if let Some(until) = moment(self.timeout) {
            all.push(time(attributes::WAIT_UNTIL, until));
        }
        all
    }

    /// What is said of a step that waits, whenever it began: what for, or until when if that is a fixed time.
    pub(crate) fn lasting_waiting_attributes(&self) -> Vec<KeyValue> {
        let mut all = self.lasting_attributes();
        all.retain(|pair| {
            [attributes::SLEEP_UNTIL, attributes::WAIT_EVENT].contains(&pair.key.as_str())
        });
        all
    }

    /// The same, and when it goes on or gives up.
    pub(crate) fn waiting_attributes(&self, start: SystemTime) -> Vec<KeyValue> {
        let mut all = self.lasting_waiting_attributes();
        all.extend(self.starting_attributes(start));
        all
    }
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Step {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&String> for Step {
    fn from(name: &String) -> Self {
        Self::new(name)
    }
}

fn time(key: &'static str, time: SystemTime) -> KeyValue {
    KeyValue::new(key, Timestamp::from(time).text())
}

fn milliseconds(key: &'static str, duration: Duration) -> KeyValue {
    KeyValue::new(key, i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
