//! Records the open spans when a test panics or reports an error, because they end when the test's locals are dropped.
//! The hook runs on the panicking thread before it unwinds. It blocks that thread for milliseconds,
//! which is acceptable only in a test.

use std::{
    cell::Cell,
    fmt,
    panic::{self, PanicHookInfo},
    sync::{Arc, Once},
    thread,
};

use opentelemetry::{
    Context,
    trace::{Status, TraceContextExt as _},
};

use crate::{
    otel::log_registry,
    span::{event::TraceId, json::clip},
    testing::{
        active_test::{self, ActiveTest, Panic, ReturnedError},
        failure_report, test_log,
    },
    util::sync::lock,
};

/// Upper bound on the reported panics of a test. Of the panics beyond this bound, only the last is
/// reported.
pub(super) const PANICS_MAX: usize = 8;

thread_local! {
    /// Whether the hook is running on this thread. The hook itself may panic.
    static IS_IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook, once. The previous hook runs after it.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    // The standard library does not allow a panicking thread to replace the hook.
    if thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_IN_HOOK.replace(true) {
                note(info);
                IS_IN_HOOK.set(false);
            }
            next(info);
        }));
    });
}

/// Upper bound on the text of an error, in bytes.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// Reports the test of this thread as failed if its result is `Err`. Returns the result.
///
/// [`trace_test!`](crate::trace_test) notices a panic, but not an `Err` that the test returns. With this function it
/// does: the report has the error in its `Debug` format, cut to 16 KiB, and the test leaves its file. Only the first
/// error of a test is reported. On another thread, and in a test without `trace_test!`, the function only returns the
/// result.
///
/// ```
/// # use std::num::ParseIntError;
/// fn price(text: &str) -> Result<u32, ParseIntError> {
///     text.parse()
/// }
///
/// # /*
/// #[test]
/// # */
/// fn a_price_is_a_number() -> Result<(), ParseIntError> {
///     livespan::trace_test!();
///     livespan::testing::report_err(check_prices())
/// }
///
/// fn check_prices() -> Result<(), ParseIntError> {
///     assert_eq!(price("7")?, 7);
///     assert_eq!(price("12")?, 12);
///     Ok(())
/// }
/// # a_price_is_a_number().unwrap();
/// ```
///
/// The body of an asynchronous test is a block: `report_err(async { … }.await)`.
///
/// # Errors
/// Returns the error of `result`.
pub fn report_err<T, E: fmt::Debug>(result: Result<T, E>) -> Result<T, E> {
    if let (Err(error), Some(test)) = (&result, active_test::of_own_thread()) {
        let text = format!("{error:?}");
        let text = clip(&text, ERROR_BYTES_MAX).0;
        test.context
            .span()
            .set_status(Status::error(text.to_owned()));
        let error = ReturnedError {
            text: text.to_owned(),
            age: test.begun.elapsed(),
            open: failure_report::open_text(&test),
        };
        lock(&test.error).get_or_insert(error);
    }
    result
}

fn note(info: &PanicHookInfo<'_>) {
    let span = log_registry::current_span();
    let trace = TraceId::from_bytes(span.trace_id().to_bytes());
    let test = trace.and_then(active_test::of_trace);
    let Some(test) = test.or_else(active_test::of_this_thread) else {
        return;
    };
    let panic = Panic {
        text: text_of(info),
        age: test.begun.elapsed(),
        open: failure_report::open_text(&test),
        is_hidden: active_test::of_own_thread().is_some() && !test_log::is_shown_here(),
    };
    let count = {
        let mut panics = lock(&test.panics);
        if panics.len() == PANICS_MAX {
            panics.pop();
        }
        panics.push(panic);
        panics.len()
    };
    // A panic during another one's unwinding aborts the process. So does every panic if the profile
    // aborts on panics.
    if count > 1 || cfg!(panic = "abort") {
        leave_last_words(&test);
    }
}

/// Writes the file now, because the process may abort before the test ends.
fn leave_last_words(test: &Arc<ActiveTest>) {
    // The panicking thread's context is replaced, so that spans made while the file is written do
    // not become part of the test.
    let _guard = Context::new().attach();
    failure_report::write_file(test).unwrap_or_default();
}

fn text_of(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    format!(
        "{} at {place}, thread {thread}",
        message.unwrap_or("(no text)")
    )
}
