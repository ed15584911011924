//! Times the polls of a future in a span. Viewers see whether the future works or waits and, during a long poll,
//! which thread it blocks. It runs on the host's tasks; it never waits and never panics.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use opentelemetry::trace::SpanContext;

use crate::{otel::log_registry::SpanSlots, span::updates::TaskState, util::time::Timestamp};

/// The polls of one future, and the span that reports them.
#[derive(Debug)]
pub(super) struct PollTimes {
    slots: SpanSlots,
    task: TaskState,
    begun: Option<Instant>,
    /// When the last poll ended.
    rested: Option<Instant>,
}

impl PollTimes {
    pub(super) fn of(span: &SpanContext) -> Self {
        Self {
            slots: SpanSlots::of(span),
            task: TaskState::default(),
            begun: None,
            rested: None,
        }
    }

    /// Notes that a poll begins on this thread.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        if let Some(rested) = self.rested.take() {
            add(&mut self.task.idle_nanos, now.duration_since(rested));
        }
        self.begun = Some(now);
        self.task.polling = Some((Timestamp::now(), thread_name()));
        self.report();
    }

    /// Notes that the poll ends.
    pub(super) fn end(&mut self) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        let now = Instant::now();
        let took = now.duration_since(begun);
        self.rested = Some(now);
        let task = &mut self.task;
        task.polls = task.polls.saturating_add(1);
        add(&mut task.busy_nanos, took);
        task.longest_poll_nanos = task.longest_poll_nanos.max(nanos(took));
        task.polling = None;
        self.report();
    }

    fn report(&self) {
        self.slots.note(|changes| {
            changes.task = Some(self.task.clone());
            true
        });
    }
}

fn add(sum: &mut u64, time: Duration) {
    *sum = sum.saturating_add(nanos(time));
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the name of this thread. It is copied once for each thread.
fn thread_name() -> Arc<str> {
    thread_local! {
        static NAME: Arc<str> = Arc::from(thread::current().name().unwrap_or("unnamed"));
    }
    NAME.try_with(Arc::clone).unwrap_or_default()
}
