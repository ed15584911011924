//! The thread that reports on running tests: when a test exceeds its limit, and when the process
//! gets a signal to end or aborts. It also writes the file of a long-running test, because a killed
//! process cannot write one. Each process with tests has one such thread. It waits, and runs no
//! code of a test.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    testing::{
        active_test::{self, ActiveTest},
        failure_report::{self, FailureCause},
    },
    util::sync::lock,
};

/// The longest time between two writes of a test's file, unless writing takes long.
const FILE_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Writing the file of one test takes at most 1/50 of the test's time.
const SHARE_OF_FILES: u32 = 50;

#[derive(Debug)]
struct Schedule {
    is_started: bool,
    /// The time of the next due report.
    wake_at: Option<Instant>,
    /// The reason why all tests must be reported now.
    cause: Option<FailureCause>,
}

static SCHEDULE: Mutex<Schedule> = Mutex::new(Schedule {
    is_started: false,
    wake_at: None,
    cause: None,
});
static CHANGED: Condvar = Condvar::new();

/// Starts the thread. The thread sends a message on `runs` when it has started. If it cannot be
/// started, the tests run without it.
pub(super) fn start(runs: Sender<()>) {
    let thread = thread::Builder::new().name("livespan-test-report".to_owned());
    let started = thread.spawn(move || {
        runs.send(()).unwrap_or_default();
        report_what_is_due();
    });
    lock(&SCHEDULE).is_started = started.is_ok();
}

/// Reports the test from now on, until [`end`].
pub(super) fn watch(test: &ActiveTest) {
    schedule(due_at(test, lock(&test.due).next_age()));
}

/// Stops the reports of a test that is over. Waits for a report in progress.
pub(super) fn end(test: &ActiveTest) {
    lock(&test.due).is_over = true;
}

/// Reports all running tests, and waits for this at most for `timeout`. If the thread could not be
/// started, the caller's thread reports them.
pub(super) fn report_all(cause: FailureCause, timeout: Duration) {
    let mut schedule = lock(&SCHEDULE);
    if !schedule.is_started {
        drop(schedule);
        return report_each(cause);
    }
    schedule.cause = Some(cause);
    CHANGED.notify_all();
    let reported =
        CHANGED.wait_timeout_while(schedule, timeout, |schedule| schedule.cause.is_some());
    drop(reported.unwrap_or_else(PoisonError::into_inner));
}

fn report_each(cause: FailureCause) {
    for test in active_test::all() {
        failure_report::report_to_process(&test, cause);
    }
}

fn due_at(test: &ActiveTest, age: Duration) -> Option<Instant> {
    test.begun.checked_add(age)
}

fn schedule(next: Option<Instant>) {
    let Some(next) = next else { return };
    let mut schedule = lock(&SCHEDULE);
    if schedule.wake_at.is_none_or(|at| next < at) {
        schedule.wake_at = Some(next);
        CHANGED.notify_all();
    }
}

fn report_what_is_due() -> ! {
    let mut schedule = lock(&SCHEDULE);
    loop {
        let now = Instant::now();
        schedule = match (schedule.cause, schedule.wake_at) {
            (Some(cause), _) => report_for(cause, schedule),
            (None, Some(at)) if at <= now => report_each_due(schedule),
            (None, Some(at)) => {
                let waited = CHANGED.wait_timeout(schedule, at - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            (None, None) => {
                let waited = CHANGED.wait(schedule);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

fn report_for(
    cause: FailureCause,
    schedule: MutexGuard<'_, Schedule>,
) -> MutexGuard<'static, Schedule> {
    drop(schedule);
    report_each(cause);
    let mut schedule = lock(&SCHEDULE);
    schedule.cause = None;
    CHANGED.notify_all();
    schedule
}

fn report_each_due(mut due: MutexGuard<'_, Schedule>) -> MutexGuard<'static, Schedule> {
    due.wake_at = None;
    drop(due);
    for test in active_test::all() {
        schedule(report_due(&test).and_then(|age| due_at(&test, age)));
    }
    lock(&SCHEDULE)
}

/// Makes at most one due report of a test. Returns the age at which the next one is due.
fn report_due(test: &ActiveTest) -> Option<Duration> {
    let mut due = lock(&test.due);
    if due.is_over {
        return None;
    }
    let age = test.begun.elapsed();
    if let Some(limit) = due.limit.take_if(|limit| *limit <= age) {
        failure_report::report_to_process(test, FailureCause::Limit(limit));
    } else if due.file_age <= age {
        let begun = Instant::now();
        failure_report::write_file_here(test).unwrap_or_default();
        let pause = age
            .min(FILE_INTERVAL_MAX)
            .max(begun.elapsed() * SHARE_OF_FILES);
        due.file_age = test.begun.elapsed().saturating_add(pause);
    }
    Some(due.next_age())
}
