//! The description of a step before it runs: its name, its kind, and what it waits for. Pure.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use opentelemetry::{KeyValue, Value};

use crate::{
    util::time::Timestamp,
    workflow::{attributes, ids::StepKey},
};

/// The kind of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// The step does work.
    #[default]
    Do,
    /// The step waits for a time.
    Sleep,
    /// The step waits for an event.
    Wait,
    /// The step groups other steps.
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

    /// Returns whether a step of this kind waits instead of working.
    pub(crate) fn rests(self) -> bool {
        matches!(self, Self::Sleep | Self::Wait)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The description of a step. A name converts into one: `"charge"` is `Step::new("charge")`.
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
    /// Creates a step with this name.
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

    /// Sets the key that identifies the step in every replay: the engine's own number or name for it, for example.
    ///
    /// Without a key, a step is identified by its name and by how often that name was used before below the same
    /// parent. This is correct if the program makes its steps in the same order in each run. Concurrent branches may
    /// make their steps in another order, because each continues as soon as its own result is ready. Give their steps
    /// keys, names or a [`scope`](crate::workflow::Workflow::scope) that no other branch uses.
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// Sets the duration of a sleep. It counts from the start of the step.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.lasting = Some(duration);
        self
    }

    /// Sets the time at which a sleep ends.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// Sets the name of the event that the step waits for. The default is the step's name.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Sets the time after which a wait times out. livespan only shows this time; the engine must enforce it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the number of this attempt, from 1, for an engine that makes the step again for each attempt. For a retry
    /// loop of your own, use [`StepSpan::retry`](crate::workflow::StepSpan::retry).
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Declares that the work continues elsewhere after the future is dropped, in an activity worker for example. The
    /// step is then shown as running, not as waiting.
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

    /// Returns the attributes that both the start and the end of the step have.
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

    /// Returns the attributes that are computed from the step's start time. Only the first start may send them, because
    /// a replay starts at another time.
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

    /// Returns the attributes of a waiting step that do not depend on its start time: the event, or a fixed end time.
    pub(crate) fn lasting_waiting_attributes(&self) -> Vec<KeyValue> {
        let mut all = self.lasting_attributes();
        all.retain(|pair| {
            [attributes::SLEEP_UNTIL, attributes::WAIT_EVENT].contains(&pair.key.as_str())
        });
        all
    }

    /// Returns the attributes of a waiting step, with the time at which it continues or times out.
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
