//! Reports diagnostics to operators. Each cause is reported once per log; when it recurs, only `/status` or the
//! readers' streams show it. Nothing here prints, and a panic of the sink is caught. It runs on the thread that
//! notices the cause.

use std::{fmt, sync::Arc};

use crate::{
    util::sync::{
        atomic::{AtomicBool, Ordering},
        catch_panic,
    },
    wire::{control::Dropped, id::Sequence},
};

/// A condition that operators should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Diagnostic<'a> {
    /// The store fails. Has the store's message.
    StoreFailing(&'a str),
    /// Stored events are damaged. Has the sequence of the first one that was read.
    DamagedEvents(Sequence),
    /// A reader could not read from the store; the log itself continues. Has the store's message.
    ReadFailed(&'a str),
    /// Events were dropped: the buffer was full, the store failed, or an encoder panicked. Has a count for each kind of
    /// event.
    Dropped(Dropped),
    /// The log ended by itself. Has the reason.
    Ended(&'a str),
    /// Readers that still existed long after the end of the log. Has their number.
    ReadersLeft(usize),
    /// A client sent an invalid token, cookie or ticket.
    WrongCredentials,
}

/// Delivers a diagnostic to operators. It runs on the threads of the log and of readers.
pub(crate) type DiagnosticSink = Arc<dyn Fn(Diagnostic<'_>) + Send + Sync>;

/// Reports each cause once.
pub(crate) struct Diagnostics {
    sink: Option<DiagnosticSink>,
    reported: [AtomicBool; 7],
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("reported", &self.reported)
            .finish_non_exhaustive()
    }
}

impl Diagnostics {
    pub(crate) fn new(sink: Option<DiagnosticSink>) -> Self {
        Self {
            sink,
            reported: Default::default(),
        }
    }

    pub(crate) fn report(&self, diagnostic: Diagnostic<'_>) {
        let [store, damaged, read, dropped, ended, left, credentials] = &self.reported;
        let reported = match diagnostic {
            Diagnostic::StoreFailing(_) => store,
            Diagnostic::DamagedEvents(_) => damaged,
            Diagnostic::ReadFailed(_) => read,
            Diagnostic::Dropped(_) => dropped,
            Diagnostic::Ended(_) => ended,
            Diagnostic::ReadersLeft(_) => left,
            Diagnostic::WrongCredentials => credentials,
        };
        if let Some(sink) = &self.sink
            && !reported.swap(true, Ordering::Relaxed)
        {
            // The sink is the host's code: its panic must not end the log.
            catch_panic(|| sink(diagnostic));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_cause_is_reported_once() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink: DiagnosticSink = {
            let reported = Arc::clone(&reported);
            Arc::new(move |diagnostic| reported.lock().unwrap().push(format!("{diagnostic:?}")))
        };
        let diagnostics = Diagnostics::new(Some(sink));
        for text in ["the disk is full", "the disk is still full"] {
            diagnostics.report(Diagnostic::ReadFailed(text));
            diagnostics.report(Diagnostic::StoreFailing(text));
            diagnostics.report(Diagnostic::Ended(text));
        }
        assert_eq!(
            *reported.lock().unwrap(),
            [
                "ReadFailed(\"the disk is full\")",
                "StoreFailing(\"the disk is full\")",
                "Ended(\"the disk is full\")"
            ]
        );
        Diagnostics::new(None).report(Diagnostic::Ended("nobody listens"));
        Diagnostics::new(Some(Arc::new(|_| panic!("the host's own mistake"))))
            .report(Diagnostic::Ended("it goes on"));
    }
}
