//! The running tests, and the test to which a thread's work belongs. Any thread may call most of
//! these functions; the thread of a test calls `begin` and `end`.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, Weak, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use opentelemetry::Context;
use tokio::runtime::{Handle, Id as RuntimeId};

use crate::{
    span::event::TraceId,
    testing::test_name::{self, CargoTarget, TestName},
    util::{sync::lock, time::Timestamp},
};

/// Upper bound on the tokio runtimes that are assigned to a test. Spans without a parent on further
/// runtimes belong to the only running test, or to none.
const RUNTIMES_MAX: usize = 1_024;
/// Upper bound on the stored trace ids of tests. They keep the traces of one test out of the file
/// of another.
const TRACES_MAX: usize = 65_536;

/// The age at which a running test's file is first written.
const FIRST_FILE_AGE: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(5)
};

/// A running test.
#[derive(Debug)]
pub(super) struct ActiveTest {
    pub(super) name: TestName,
    pub(super) target: CargoTarget,
    pub(super) begun: Instant,
    pub(super) begun_at: Timestamp,
    pub(super) trace: TraceId,
    /// The context of the test's own span.
    pub(super) context: Context,
    /// The panics of the test, each with the spans that were open at the time.
    pub(super) panics: Mutex<Vec<Panic>>,
    /// The first error that the test passed to [`report_err`](crate::testing::report_err).
    pub(super) error: Mutex<Option<ReturnedError>>,
    /// Whether a report has named its file while it ran. If so, the file is kept.
    pub(super) is_reported: AtomicBool,
    /// The reports that are still to be made while it runs.
    pub(super) due: Mutex<DueReports>,
    /// The id of the process that runs it. A fork of that process has another id.
    pub(super) process: u32,
}

impl ActiveTest {
    /// Returns the path of the test's file. Most tests write none.
    pub(super) fn file(&self) -> PathBuf {
        test_name::folder().join(self.name.file(self.target))
    }
}

/// A panic in a test, and the spans that were open at the time.
#[derive(Clone, Debug)]
pub(super) struct Panic {
    /// The place, the thread and the message of the panic.
    pub(super) text: String,
    /// The age of the test at the panic.
    pub(super) age: Duration,
    pub(super) open: String,
    /// Whether another subscriber was the default of the test's thread at the panic. The file then
    /// lacks the spans and events that only that subscriber got.
    pub(super) is_hidden: bool,
}

/// An error that a test returns, and the spans that were open at the time.
#[derive(Clone, Debug)]
pub(super) struct ReturnedError {
    /// The error in its `Debug` format.
    pub(super) text: String,
    /// The age of the test when it reported the error.
    pub(super) age: Duration,
    pub(super) open: String,
}

/// The reports of a running test that `report_thread` makes.
#[derive(Debug)]
pub(super) struct DueReports {
    pub(super) limit: Option<Duration>,
    /// The age at which the file is written next.
    pub(super) file_age: Duration,
    pub(super) is_over: bool,
}

impl DueReports {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            file_age: FIRST_FILE_AGE,
            is_over: false,
        }
    }

    /// Returns the age of the test at which the next report is due.
    pub(super) fn next_age(&self) -> Duration {
        self.limit
            .map_or(self.file_age, |limit| limit.min(self.file_age))
    }
}

#[derive(Debug, Default)]
struct ActiveTests {
    tests: Vec<Arc<ActiveTest>>,
    runtimes: HashMap<RuntimeId, Weak<ActiveTest>>,
    /// The traces of the tests of this process, at most [`TRACES_MAX`].
    traces: Vec<TraceId>,
}

static ACTIVE: Mutex<Option<ActiveTests>> = Mutex::new(None);

thread_local! {
    /// The test whose body this thread runs.
    static OWN: RefCell<Option<Arc<ActiveTest>>> = const { RefCell::new(None) };
}

fn with_active<R>(act: impl FnOnce(&mut ActiveTests) -> R) -> R {
    act(lock(&ACTIVE).get_or_insert_default())
}

/// Adds the trace of a test that is about to begin.
pub(super) fn add_trace(trace: TraceId) {
    with_active(|active| {
        if active.traces.len() < TRACES_MAX {
            active.traces.push(trace);
        }
    });
}

/// Adds a test whose body runs on this thread.
pub(super) fn begin(test: &Arc<ActiveTest>) {
    with_active(|active| {
        active.tests.push(Arc::clone(test));
        if let Ok(runtime) = Handle::try_current() {
            active.learn(runtime.id(), test);
        }
    });
    OWN.set(Some(Arc::clone(test)));
}

/// Removes the test.
pub(super) fn end(test: &Arc<ActiveTest>) {
    with_active(|active| {
        active.tests.retain(|known| !Arc::ptr_eq(known, test));
        active
            .runtimes
            .retain(|_, known| known.strong_count() > 0 && !known.ptr_eq(&Arc::downgrade(test)));
    });
    OWN.set(None);
}

/// Returns all running tests.
pub(super) fn all() -> Vec<Arc<ActiveTest>> {
    with_active(|active| active.tests.clone())
}

/// Returns the traces of all tests of this process.
pub(super) fn traces_of_tests() -> HashSet<TraceId> {
    with_active(|active| active.traces.iter().copied().collect())
}

/// Returns the running test with this trace.
pub(super) fn of_trace(trace: TraceId) -> Option<Arc<ActiveTest>> {
    let test = |active: &mut ActiveTests| {
        let test = active.tests.iter().find(|test| test.trace == trace);
        test.cloned()
    };
    with_active(test)
}

/// Returns the test whose body this thread runs.
pub(super) fn of_own_thread() -> Option<Arc<ActiveTest>> {
    OWN.try_with(|own| own.borrow().clone()).ok().flatten()
}

/// Returns the test to which this thread's work belongs. This is the test whose body it runs, or
/// else the test of its runtime, or else the only running test. Returns `None` if it cannot be
/// determined.
pub(super) fn of_this_thread() -> Option<Arc<ActiveTest>> {
    if let Some(own) = of_own_thread() {
        return Some(own);
    }
    let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
    with_active(|active| {
        let known = runtime.and_then(|runtime| active.runtimes.get(&runtime)?.upgrade());
        known.or_else(|| match active.tests.as_slice() {
            [only] if !runs_another_test(thread::current().name()) => Some(Arc::clone(only)),
            _ => None,
        })
    })
}

/// Returns whether the thread probably runs a test without `trace_test!`. The test runner names a
/// thread by the path of its test, such as `cart::charges` or `charges_once`. Programs rarely use
/// such names.
fn runs_another_test(thread: Option<&str>) -> bool {
    let is_path = |name: &str| {
        (name.contains("::") || name.contains('_'))
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    thread.is_some_and(is_path)
}

/// Assigns this thread's tokio runtime to the test whose body the thread runs.
pub(super) fn learn_runtime() {
    let (Ok(runtime), Some(own)) = (Handle::try_current(), of_own_thread()) else {
        return;
    };
    with_active(|active| active.learn(runtime.id(), &own));
}

impl ActiveTests {
    fn learn(&mut self, runtime: RuntimeId, test: &Arc<ActiveTest>) {
        if self.runtimes.len() < RUNTIMES_MAX {
            self.runtimes
                .entry(runtime)
                .or_insert_with(|| Arc::downgrade(test));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_named_like_a_test_belongs_to_no_other_test() {
        for (name, expected) in [
            (Some("cart::charges"), true),
            (Some("charges_once"), true),
            (Some("main"), false),
            (Some("tokio-rt-worker"), false),
            (Some("worker 1"), false),
            (None, false),
        ] {
            assert_eq!(runs_another_test(name), expected, "{name:?}");
        }
    }
}
