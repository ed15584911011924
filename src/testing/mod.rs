//! Shows the work of a failed test: the tree of open spans, and one file that replays the test.
//!
//! [`trace_test!`](crate::trace_test) as the first line of a test is all that a test needs. A passing test prints
//! nothing and leaves no file. When the test panics or exceeds its limit, or when the process gets a signal to end,
//! exits or aborts, the macro
//!
//! - prints the open spans, oldest first: ages, await points, progress, last log lines, and the
//!   panic;
//! - writes `target/livespan/<package>/<path of the test>.html`, which replays the test in any
//!   browser. The folder of an integration test also names its test program: `<package>.it`.
//!
//! ```
//! # fn test() {
//! livespan::trace_test!(limit = 30s); // the first line of a test
//! let _span = tracing::info_span!("charge").entered();
//! tracing::info!("card accepted");
//! # }
//! # test();
//! ```
//!
//! It shows the spans and events of `tracing`, from DEBUG up or at the levels in `RUST_LOG`. Spans
//! of other threads and tasks are assigned to a test by their parent, else by their tokio runtime,
//! else to the only running test.
//!
//! The guide: [tests](crate::_guide::tests).

mod active_test;
mod both_subscribers;
mod failure_report;
mod guard;
mod panics;
mod report_thread;
#[cfg(unix)]
mod signals;
mod test_log;
mod test_name;
mod thread_context;

#[cfg(test)]
mod tests;

pub use self::{
    guard::{TestOptions, TestTrace},
    panics::report_err,
    test_name::CargoTarget,
};

/// Watches a test. It must be the first line of the test.
///
/// - `trace_test!();`
/// - `trace_test!(limit = 30s);` also reports when the test has run for that long (`ms`, `s`, `m`
///   or `h`). The test continues; to end it, use the limit of your test runner.
///   `LIVESPAN_TEST_LIMIT=30s` sets the limit of tests that have none.
/// - `trace_test!(should_panic);` for a test that must panic: the test fails if it does not.
///
/// If a test returns `Err`, it fails without a panic. The macro notices that only if the result goes
/// through [`report_err`](crate::testing::report_err). `LIVESPAN_TEST_KEEP=1` keeps the file of every
/// test. `LIVESPAN_TEST_DIR` names another folder than `target/livespan`.
///
/// On `SIGINT` and `SIGTERM`, every running test is reported, and then the process ends as usual. A
/// test that handles these signals itself needs `LIVESPAN_TEST_SIGNALS=0`.
///
/// The first call in a process installs a `tracing` subscriber for all of its threads. If there already is one, both
/// are used: on the thread of the test, and on others inside the spans of the test. Install your own global subscriber
/// before this call, because it cannot be installed afterwards. A subscriber that is the default of a scope can be set
/// at any time.
#[macro_export]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
macro_rules! trace_test {
    ($($option:ident $(= $value:tt)?),* $(,)?) => {
        let _livespan_test = $crate::testing::TestTrace::begin({
            fn here() {}
            let target = $crate::testing::CargoTarget {
                package: ::core::option_env!("CARGO_PKG_NAME"),
                binary: ::core::option_env!("CARGO_BIN_NAME"),
                temporary_folder: ::core::option_env!("CARGO_TARGET_TMPDIR"),
            };
            $crate::testing::TestOptions::of(&here, target)$(.$option($(stringify!($value))?))*
        });
    };
}
