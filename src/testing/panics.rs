//! Keeps what was open when a test panicked: when its own locals are dropped, its spans are over. The hook runs on the
//! panicking thread, before anything unwinds. It blocks that thread for milliseconds, which only a test may.

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
        failure_report,
    },
    util::sync::lock,
};

/// Upper bound on the panics of a test that are reported. Of further ones, only the last is.
pub(super) const PANICS_MAX: usize = 8;

thread_local! {
    /// Whether the hook runs on this thread: what it does may panic, too.
    static IS_IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook, once. The hook that was there runs after it.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    // On a thread that panics, the standard library refuses to exchange hooks.
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
        open: failure_report::open_text(&test),
    };
    let count = {
        let mut panics = lock(&test.panics);
        if panics.len() == PANICS_MAX {
            panics.pop();
        }
        panics.push(panic);
        panics.len()
    };
    // A panic while another one unwinds aborts the process, and so does every panic where panics abort.
    if count > 1 || cfg!(panic = "abort") {
        leave_last_words(&test);
    }
}

/// Writes the file now, because there may be no later.
fn leave_last_words(test: &Arc<ActiveTest>) {
    // Without the context of the panic: whoever writes is not part of the test.
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
