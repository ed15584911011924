//! The report of a broken promise: the expected value, the actual one, and the steps that led there. It only formats
//! text, and must never call a store.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use livespan::{
    Error,
    store::{Pinning, StoredEvent, StreamKey},
};

use crate::test_event::TestEvent;

/// Upper bound on the payload bytes of one event in a message.
const SHOWN_BYTES_MAX: usize = 24;
/// Upper bound on the events in a message, on either side of the first difference.
const SHOWN_EVENTS_MAX: usize = 12;
/// Upper bound on the steps in a message; the newest ones are shown.
const SHOWN_STEPS_MAX: usize = 40;

pub(crate) type Outcome<T = ()> = Result<T, Violation>;

/// One broken promise.
#[derive(Debug)]
pub(crate) struct Violation(Box<Details>);

#[derive(Debug)]
struct Details {
    promise: String,
    expected: String,
    came: String,
    history: Option<String>,
}

impl Violation {
    pub(crate) fn new(
        promise: impl Into<String>,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Self {
        Self(Box::new(Details {
            promise: promise.into(),
            expected: expected.into(),
            came: came.into(),
            history: None,
        }))
    }

    pub(crate) fn error(call: &str, error: &Error) -> Self {
        Self::new(format!("{call} succeeds"), "no error", error.to_string())
    }

    /// Adds the steps, unless the report has some already: a random history adds its own steps first.
    pub(crate) fn after(mut self, step_log: &StepLog) -> Self {
        self.0.history.get_or_insert_with(|| step_log.show());
        self
    }

    pub(crate) fn show(&self) -> String {
        let Details {
            promise,
            expected,
            came,
            history,
        } = &*self.0;
        let mut text =
            format!("  promise:  {promise}\n  expected: {expected}\n  came:     {came}\n");
        if let Some(history) = history {
            text.push_str("  history:\n");
            text.push_str(history);
        }
        text
    }
}

/// Compares two whole values.
pub(crate) fn same<T: Debug + PartialEq>(
    promise: impl Into<String>,
    expected: &T,
    came: &T,
) -> Outcome {
    if expected == came {
        return Ok(());
    }
    Err(Violation::new(
        promise,
        format!("{expected:?}"),
        format!("{came:?}"),
    ))
}

/// Returns a violation of the promise unless the condition holds.
pub(crate) fn holds(
    condition: bool,
    promise: impl Into<String>,
    expected: impl Into<String>,
    came: impl Into<String>,
) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Violation::new(promise, expected, came))
    }
}

/// The operations on a store, step by step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepLog(Arc<Mutex<Vec<String>>>);

impl StepLog {
    pub(crate) fn note(&self, step: impl Into<String>) {
        self.lock().push(step.into());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // The list is valid even if a thread panicked while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> String {
        let steps = self.lock();
        let skipped = steps.len().saturating_sub(SHOWN_STEPS_MAX);
        let mut text = String::new();
        if skipped > 0 {
            text.push_str("    … earlier steps left out\n");
        }
        for (number, step) in steps.iter().enumerate().skip(skipped) {
            writeln!(text, "    {:>3}. {step}", number + 1).ok();
        }
        text
    }
}

/// Formats one event on one line: `5 note on a, opens 7, 12 bytes "…"`.
pub(crate) fn event(event: &StoredEvent) -> String {
    let StoredEvent {
        sequence,
        name,
        key,
        pin,
        payload,
        ..
    } = event;
    let text = described(name, key.as_ref(), *pin, payload);
    format!("{sequence} {text}")
}

/// Formats an event that has no sequence yet.
pub(crate) fn test_event(test_event: &TestEvent) -> String {
    described(
        &test_event.name,
        test_event.key.as_ref(),
        test_event.pin,
        &test_event.payload,
    )
}

fn described(name: &str, key: Option<&StreamKey>, pin: Pinning, payload: &[u8]) -> String {
    let mut text = name.to_owned();
    if let Some(key) = key {
        write!(text, " on {}", key.as_bytes().escape_ascii()).ok();
    }
    match pin {
        Pinning::Open(token) => write!(text, ", opens {token}").unwrap_or_default(),
        Pinning::Close(token) => write!(text, ", closes {token}").unwrap_or_default(),
        Pinning::State(token) => write!(text, ", state of {token}").unwrap_or_default(),
        // `None`, or a variant that a later version of livespan adds.
        _ => {}
    }
    write!(text, ", {}", bytes(payload)).ok();
    text
}

/// Formats the length of the payload and its first bytes.
pub(crate) fn bytes(payload: &[u8]) -> String {
    let shown = payload.get(..SHOWN_BYTES_MAX).unwrap_or(payload);
    let more = if shown.len() < payload.len() {
        "…"
    } else {
        ""
    };
    format!("{} bytes \"{}{more}\"", payload.len(), shown.escape_ascii())
}

/// Formats a list of events. A long list is shortened to the events around the index.
pub(crate) fn events(events: &[StoredEvent], around: usize) -> String {
    let from = around.saturating_sub(SHOWN_EVENTS_MAX);
    let to = events.len().min(around + SHOWN_EVENTS_MAX);
    let shown = events.get(from..to).unwrap_or_default();
    let mut text = format!("{} events [", events.len());
    if from > 0 {
        text.push_str("… ");
    }
    let shown: Vec<String> = shown.iter().map(event).collect();
    text.push_str(&shown.join("; "));
    if to < events.len() {
        text.push_str(" …");
    }
    text.push(']');
    text
}
