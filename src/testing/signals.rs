//! Reports the tests that run when the process is told to end: by a person, or by a test runner whose time is over. It
//! runs on a thread of its own, which waits for the signal.

use std::{env, sync::Once, thread};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::testing::{
    active_test,
    failure_report::{self, FailureCause},
};

/// Watches for the signals, once, unless the environment says otherwise.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if env::var_os("LIVESPAN_TEST_SIGNALS").is_some_and(|watch| watch == "0") {
            return;
        }
        let Ok(signals) = Signals::new([SIGINT, SIGTERM]) else {
            return;
        };
        let thread = thread::Builder::new().name("livespan-test-signals".to_owned());
        drop(thread.spawn(move || report_each(signals)));
    });
}

fn report_each(mut signals: Signals) {
    for signal in signals.forever() {
        let name = if signal == SIGINT {
            "SIGINT"
        } else {
            "SIGTERM"
        };
        for test in active_test::all() {
            failure_report::report_to_process(&test, FailureCause::Signal(name));
        }
        // The process ends as it would have without this thread.
        drop(emulate_default_handler(signal));
    }
}
