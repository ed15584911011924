//! The report of a failed or cut-off test: on the test's own output or the process's standard error,
//! and in the file that `test_name` names. It runs on a separate thread, because the test's thread may be inside a runtime or panicking.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

#[cfg(unix)]
use std::os::fd::AsFd as _;

use crate::{
    http::routes::trace_snapshot::file::write_to,
    live_spans::LiveSpans,
    span::event::TraceId,
    testing::{
        active_test::{self, ActiveTest},
        test_log::{TestLog, test_log},
        test_name,
    },
    trace::filter::TraceFilter,
    util::sync::lock,
};

/// Upper bound on the traces in a file: the test's own trace, and traces without a known test that
/// began while the test ran.
const TRACES_MAX: usize = 32;
/// Upper bound on the newest traces of the log that are searched for traces without a known test.
const CANDIDATES_MAX: usize = 10_000;
/// How long the report waits until the log has the test's spans. Half of a full buffer, in a debug
/// build, takes about 2 seconds. It must be less than the time that an ending process waits for
/// reports.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(8);

/// The note of a report if a subscriber that was set after `trace_test!` got spans and events of
/// the test.
const HIDDEN: &str = "note: a subscriber that was set after trace_test! got spans and events of this test. Set it before \
                      trace_test!, and both get them.\n";

static WRITING: Mutex<()> = Mutex::new(());
/// Whether the folder of all files existed when the first test began, or this process has created
/// it.
static MAY_HAVE_FILES: AtomicBool = AtomicBool::new(false);

/// Records whether the folder of all files exists. Without it, a passing test need not look for the
/// file of an earlier run.
pub(super) fn detect_files() {
    MAY_HAVE_FILES.store(test_name::folder().is_dir(), Ordering::Relaxed);
}

/// Returns whether a file of an earlier run, or of this one, may exist.
pub(super) fn may_have_files() -> bool {
    MAY_HAVE_FILES.load(Ordering::Relaxed)
}

/// The reason for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    Panic,
    /// The test returns an error.
    Error,
    /// The test should have panicked and did not.
    NoPanic,
    Limit(Duration),
    /// The process received a signal to end.
    Signal(&'static str),
    /// The process aborts.
    Abort,
    /// The test's thread ends before the test does, because the test has ended the thread or the process.
    Exit,
}

/// Waits until the log has the tests' spans. After a time limit, the report uses those that are
/// there.
fn flush(log: &TestLog) {
    let runtime = &log.live.shared.parts.runtime;
    drop(runtime.flush_unless_failing(FLUSH_TIMEOUT));
}

/// Returns the text of the test's open spans.
pub(super) fn open_text(test: &ActiveTest) -> String {
    let filter = TraceFilter {
        trace_ids: vec![test.trace],
        ..TraceFilter::default()
    };
    let Some(log) = test_log() else {
        return String::new();
    };
    flush(log);
    log.live.running_text_of(&filter)
}

/// Writes the file, and prints the report to the output of this thread's test. The thread that is
/// started for this has the same output, even if the test runner captures it.
pub(super) fn report_to_test(test: &Arc<ActiveTest>, cause: FailureCause) {
    #[expect(clippy::print_stderr, reason = "a test fails, and this says why")]
    let report = || eprint!("{}", report(test, cause, write_file_here(test)));
    on_own_thread(report);
}

/// Writes the file, and prints the report to the process's standard error. A test runner shows a
/// test's captured output only after the test.
pub(super) fn report_to_process(test: &ActiveTest, cause: FailureCause) {
    test.is_reported.store(true, Ordering::Relaxed);
    let report = report(test, cause, write_file_here(test));
    print(report.as_bytes()).unwrap_or_default();
}

/// Prints to standard error without the standard library's lock, which an aborting thread may hold.
fn print(text: &[u8]) -> io::Result<()> {
    let stderr = io::stderr();
    #[cfg(unix)]
    let mut stderr = File::from(stderr.as_fd().try_clone_to_owned()?);
    #[cfg(not(unix))]
    let mut stderr = stderr;
    stderr.write_all(text)
}

/// Calls [`report_to_process`] on a separate thread, because this one is about to end.
pub(super) fn report_exit(test: &ActiveTest) {
    on_own_thread(|| report_to_process(test, FailureCause::Exit));
}

/// Writes the file of the test. Any thread may call it.
pub(super) fn write_file(test: &ActiveTest) -> io::Result<()> {
    let mut written = Ok(());
    on_own_thread(|| written = write_file_here(test));
    written
}

/// Calls `act` on a separate thread and waits for it. A panic in `act` ends only that thread. If no
/// thread can be started, `act` is not called.
fn on_own_thread(act: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("livespan-test-report".to_owned());
        if let Ok(thread) = thread.spawn_scoped(scope, act) {
            drop(thread.join());
        }
    });
}

/// Writes the file on this thread, which must not be inside a runtime.
pub(super) fn write_file_here(test: &ActiveTest) -> io::Result<()> {
    let Some(log) = test_log() else {
        return Err(io::Error::other("there is no log"));
    };
    let file = test.file();
    if let Some(folder) = file.parent() {
        MAY_HAVE_FILES.store(true, Ordering::Relaxed);
        fs::create_dir_all(folder)?;
    }
    flush(log);
    // Two threads may report the same test at the same time.
    let _writing = lock(&WRITING);
    // The file is written under another name, then renamed. So a reader sees the old file or the
    // new one, never a part of one.
    let part = file.with_extension("html.part");
    let mut out = BufWriter::new(File::create(&part)?);
    write_to(&log.live, &traces_of(&log.live, test), &mut out)?;
    out.into_inner()?;
    fs::rename(&part, &file)
}

/// Returns the test's trace, and the traces without a known test that began while it ran.
fn traces_of(live: &LiveSpans, test: &ActiveTest) -> Vec<TraceId> {
    let begun_at = test.begun_at.text();
    let page = live
        .shared
        .index
        .page(&TraceFilter::default(), u64::MAX, CANDIDATES_MAX, |at| {
            live.log().id(at)
        });
    let of_tests = active_test::traces_of_tests();
    let others = page.traces.into_iter().filter_map(|(_, summary)| {
        let trace = TraceId::from_bytes(summary.id)?;
        let is_other = summary.start_timestamp() >= begun_at.as_str() && !of_tests.contains(&trace);
        is_other.then_some(trace)
    });
    let mut traces = vec![test.trace];
    traces.extend(others.take(TRACES_MAX - 1));
    traces
}

fn report(test: &ActiveTest, cause: FailureCause, written: io::Result<()>) -> String {
    let file = test.file();
    let panics = lock(&test.panics).clone();
    let error = lock(&test.error).clone();
    let after = match (cause, panics.last(), &error) {
        // Printing the backtrace of the panic may have taken longer than the test.
        (FailureCause::Panic, Some(panic), _) => panic.age,
        (FailureCause::Error, _, Some(error)) => error.age,
        _ => test.begun.elapsed(),
    };
    let mut out = format!("\nlivespan: {} {}\n", test.name.as_str(), cause.text(after));
    for panic in &panics {
        out.push_str("panic: ");
        out.push_str(&panic.text);
        out.push('\n');
    }
    if let Some(error) = &error {
        out.push_str("error: ");
        out.push_str(&error.text);
        out.push('\n');
    }
    if panics.iter().any(|panic| panic.is_hidden) {
        out.push_str(HIDDEN);
    }
    let open = match (cause, panics.last(), error) {
        (FailureCause::Panic | FailureCause::Abort, Some(panic), _) => panic.open.clone(),
        (FailureCause::Error, _, Some(error)) => error.open,
        (FailureCause::Panic | FailureCause::NoPanic, ..) => String::new(),
        _ => open_text(test),
    };
    out.push_str(&open);
    if !open.is_empty() && !open.ends_with('\n') {
        out.push('\n');
    }
    let result = match written {
        Ok(()) => writeln!(out, "replay: {}", address(&file)),
        Err(error) => writeln!(
            out,
            "the replay could not be written to {}: {error}",
            file.display()
        ),
    };
    result.unwrap_or_default();
    out
}

/// Returns a link to the file that a terminal opens with a click.
fn address(file: &Path) -> String {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    format!("file://{}", file.display())
}

impl FailureCause {
    fn text(self, after: Duration) -> String {
        match self {
            Self::Panic => format!("panicked after {after:.2?}"),
            Self::Error => format!("returned an error after {after:.2?}"),
            Self::NoPanic => format!("was to panic and did not, in {after:.2?}"),
            Self::Limit(limit) => format!("still runs after its limit of {limit:?}"),
            Self::Signal(signal) => format!("was ended by {signal} after {after:.2?}"),
            Self::Abort => format!("was running when the process aborted, after {after:.2?}"),
            Self::Exit => format!("ended its thread or process before its end, after {after:.2?}"),
        }
    }
}
