//! Records the open spans when a test panics, because they end when the test's locals are dropped.
//! The hook runs on the panicking thread before it unwinds. It blocks that thread for milliseconds,
//! which is acceptable only in a test.

use std::{
    cell::Cell,
    panic::{self, PanicHookInfo},
    sync::{Arc, Once},
    thread,
};

use opentelemetry::Context;

use crate::{
    otel::log_registry,
    span::event::TraceId,
    testing::{
        active_test::{self, ActiveTest, Panic},
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
