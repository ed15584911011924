//! What a test did, when it fails: the tree of what was open, and one file that replays it.
//!
//! [`trace_test!`](crate::trace_test) as the first line of a test is all that a test needs. While the test passes, it
//! prints nothing and leaves nothing. When the test panics, passes its limit, or the process is told to end, it
//!
//! - prints what was open then, oldest first: ages, await points, progress, last log lines, and the panic;
//! - writes `target/livespan/<crate>/<path of the test>.html`, which replays the test in any browser.
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
//! What is shown are the spans and events of `tracing`, from DEBUG up or as `RUST_LOG` says. Those of other threads and
//! tasks are assigned to the test by their parent, else by their tokio runtime, else to the only test that runs.
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

pub use self::guard::{TestOptions, TestTrace};

/// Watches the test that it stands in: must be its first line.
///
/// - `trace_test!();`
/// - `trace_test!(limit = 30s);` also reports when the test has run for that long (`ms`, `s`, `m` or `h`). The test goes
///   on: to end it, use the limit of your test runner. `LIVESPAN_TEST_LIMIT=30s` sets it for tests that have none.
/// - `trace_test!(should_panic);` for a test that is to panic: it fails when it does not.
///
/// A test that fails without a panic, because it returns `Err`, cannot be told from one that passes: use `unwrap`, or run
/// it with `LIVESPAN_TEST_KEEP=1`, which keeps the file of every test. `LIVESPAN_TEST_DIR` names another folder than
/// `target/livespan`.
///
/// `SIGINT` and `SIGTERM` report every test that runs, then end the process as ever. A test that handles these signals
/// itself needs `LIVESPAN_TEST_SIGNALS=0`.
///
/// The first call in a process installs a `tracing` subscriber for all of its threads. If there is one already, ours stands
/// beside it: on the thread of the test, and on others inside the spans of the test. So set a subscriber of your own
/// first, or as the default of a scope: the `init()` of a global one fails after this.
#[macro_export]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
macro_rules! trace_test {
    ($($option:ident $(= $value:tt)?),* $(,)?) => {
        let _livespan_test = $crate::testing::TestTrace::begin({
            fn here() {}
            $crate::testing::TestOptions::of(&here)$(.$option($(stringify!($value))?))*
        });
    };
}
