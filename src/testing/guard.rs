//! The guard of a running test. At the test's end, it decides on the test's thread whether the test
//! failed.

use std::{
    any::type_name_of_val,
    cell::RefCell,
    env, fmt, fs,
    marker::PhantomData,
    mem, process,
    sync::{
        Arc, Mutex, Once, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry::{
    Context, ContextGuard,
    trace::{TraceContextExt as _, Tracer as _},
};

use tracing::dispatcher::DefaultGuard;

#[cfg(unix)]
use crate::testing::signals;
use crate::{
    init::duration_text,
    span::event::TraceId,
    testing::{
        active_test::{self, ActiveTest, DueReports},
        failure_report::{self, FailureCause},
        panics, report_thread,
        test_log::{TestLog, test_log},
        test_name::{CargoTarget, TestName},
    },
    util::{sync::lock, time::Timestamp},
};

/// How long the first test of a process waits until the log's thread runs.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// The arguments of [`trace_test!`](crate::trace_test).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TestOptions {
    inner_function: &'static str,
    target: CargoTarget,
    limit: Option<Duration>,
    is_panic_expected: bool,
}

impl TestOptions {
    /// The default options of a test. `here` is a function inside the test, whose type name
    /// contains the test's path.
    pub fn of<F>(here: &F, target: CargoTarget) -> Self {
        Self {
            inner_function: type_name_of_val(here),
            target,
            limit: limit_of_all_tests(),
            is_panic_expected: false,
        }
    }

    /// Reports when the test has run for this long: a whole number with `ms`, `s`, `m` or `h`.
    ///
    /// # Panics
    /// Panics if the text is not such a time, because a test with invalid options should fail.
    #[expect(clippy::panic, reason = "it is part of a test")]
    pub fn limit(mut self, limit: &str) -> Self {
        match duration_text::parse(limit) {
            Some(limit) => self.limit = Some(limit),
            None => panic!("the limit {limit:?} is not a time such as 500ms, 30s, 5m or 1h"),
        }
        self
    }

    /// Expects the test to panic.
    pub fn should_panic(mut self) -> Self {
        self.is_panic_expected = true;
        self
    }
}

/// Returns the limit of tests that set none: `LIVESPAN_TEST_LIMIT`, unless it is invalid. The
/// environment is read once per process.
fn limit_of_all_tests() -> Option<Duration> {
    static LIMIT: OnceLock<Option<Duration>> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let limit = env::var("LIVESPAN_TEST_LIMIT").ok()?;
        duration_text::parse(&limit)
    })
}

/// Returns whether the file of every test is to be kept.
fn keeps_each_file() -> bool {
    static KEEPS: OnceLock<bool> = OnceLock::new();
    *KEEPS.get_or_init(|| env::var_os("LIVESPAN_TEST_KEEP").is_some_and(|keep| keep == "1"))
}

/// Watches a test from [`trace_test!`](crate::trace_test) to the end of the test.
#[must_use = "the test ends when this is dropped"]
pub struct TestTrace {
    watched: Option<Watched>,
    is_panic_expected: bool,
    /// The body of a test runs on one thread.
    _thread: PhantomData<*const ()>,
}

struct Watched {
    test: Arc<ActiveTest>,
    context: ContextGuard,
    /// The guard of our subscriber, if it was added beside the program's.
    subscriber: Option<DefaultGuard>,
}

impl fmt::Debug for TestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = self
            .watched
            .as_ref()
            .map(|watched| watched.test.name.as_str());
        f.debug_struct("TestTrace")
            .field("test", &test)
            .finish_non_exhaustive()
    }
}

impl TestTrace {
    /// Begins the span of the test, on its thread.
    pub fn begin(options: TestOptions) -> Self {
        let name = TestName::of(options.inner_function);
        prepare();
        let log = test_log();
        // Installed after the log's hook, so that it runs before that hook.
        panics::install_hook();
        let watched = log.and_then(|log| Watched::new(name, log, &options));
        Self {
            watched,
            is_panic_expected: options.is_panic_expected,
            _thread: PhantomData,
        }
    }
}

/// Creates the shared state of all tests of a process, when the first of them begins. The threads
/// start while the log is being created.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        failure_report::detect_files();
        #[cfg(unix)]
        let watch = signals::start();
        #[cfg(not(unix))]
        report_thread::start(std::sync::mpsc::channel().0);
        let log = test_log();
        #[cfg(unix)]
        let watch = watch.and_then(|watch| watch.arm().ok());
        if let Some(log) = log {
            wait_until_log_runs(log);
        }
        #[cfg(unix)]
        watch
            .map_or(Ok(()), signals::ArmedWatch::arm_abort)
            .unwrap_or_default();
    });
}

/// Waits until the log's thread runs, at most for [`START_TIMEOUT`]. It must run before a test
/// overflows its stack, because no thread can start while an overflow is handled.
fn wait_until_log_runs(log: &TestLog) {
    let begun = Instant::now();
    let buffer = &log.live.shared.parts.runtime.buffer;
    while !buffer.has_worker() && begun.elapsed() < START_TIMEOUT {
        thread::yield_now();
    }
}

impl Watched {
    fn new(name: TestName, log: &TestLog, options: &TestOptions) -> Option<Self> {
        // Added before the span starts. Otherwise the file of another test could include the trace
        // as one without a test.
        let trace = TraceId::from_bytes(log.next_trace().to_bytes())?;
        active_test::add_trace(trace);
        let span = log
            .tracer
            .span_builder(format!("test {}", name.as_str()))
            .start_with_context(&log.tracer, &Context::new());
        let context = Context::new().with_span(span);
        debug_assert_eq!(
            context.span().span_context().trace_id().to_bytes(),
            trace.to_bytes()
        );
        let test = Arc::new(ActiveTest {
            name,
            target: options.target,
            begun: Instant::now(),
            begun_at: Timestamp::now(),
            trace,
            context: context.clone(),
            panics: Mutex::default(),
            error: Mutex::default(),
            is_reported: AtomicBool::new(false),
            due: Mutex::new(DueReports::new(options.limit)),
            process: process::id(),
        });
        active_test::begin(&test);
        report_thread::watch(&test);
        CutOffTest::set(Some(Arc::clone(&test)));
        Some(Self {
            test,
            context: context.attach(),
            subscriber: log.join_default(),
        })
    }
}

/// Reports the test of a thread that ends before the test does. On most systems,
/// `std::process::exit` destroys the thread's thread-locals. The other threads still run at that
/// point.
struct CutOffTest(Option<Arc<ActiveTest>>);

thread_local! {
    static CUT_OFF: RefCell<CutOffTest> = const { RefCell::new(CutOffTest(None)) };
}

impl CutOffTest {
    fn set(test: Option<Arc<ActiveTest>>) {
        let before = CUT_OFF.try_with(|cut_off| mem::replace(&mut cut_off.borrow_mut().0, test));
        drop(before);
    }
}

impl Drop for CutOffTest {
    fn drop(&mut self) {
        if let Some(test) = self.0.take().filter(|test| test.process == process::id()) {
            failure_report::report_exit(&test);
        }
    }
}

impl Drop for TestTrace {
    fn drop(&mut self) {
        let Some(watched) = self.watched.take() else {
            return;
        };
        let Watched {
            test,
            context,
            subscriber,
        } = watched;
        drop(subscriber);
        CutOffTest::set(None);
        let is_panicking = thread::panicking();
        // A test that is to panic returns nothing, so no result of it can be an error.
        let has_error = !self.is_panic_expected && lock(&test.error).is_some();
        let has_failed = is_panicking != self.is_panic_expected || has_error;
        test.context.span().end();
        drop(context);
        active_test::end(&test);
        report_thread::end(&test);
        if has_failed {
            let cause = match (is_panicking, has_error) {
                (true, _) => FailureCause::Panic,
                (false, true) => FailureCause::Error,
                (false, false) => FailureCause::NoPanic,
            };
            failure_report::report_to_test(&test, cause);
        } else if keeps_each_file() {
            failure_report::write_file(&test).unwrap_or_default();
        } else if !test.is_reported.load(Ordering::Relaxed) && failure_report::may_have_files() {
            // Removes the file of an earlier failed run.
            fs::remove_file(test.file()).unwrap_or_default();
        }
    }
}
