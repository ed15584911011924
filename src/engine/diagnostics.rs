//! What operators are told of a log in trouble: each cause once, however often it comes back. `/status` and the streams
//! say the rest.

use std::{fmt, sync::Arc};

use crate::{
    util::sync::{
        atomic::{AtomicBool, Ordering},
        guard,
    },
    wire::control::Dropped,
};

/// Something that operators should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Diagnostic<'a> {
    /// The store fails, and says so.
    StoreFails(&'a str),
    /// The buffer was full, or the store failed for too long.
    Dropped(Dropped),
    /// The log ended by itself.
    Ended(&'a str),
    /// A client showed a token, a cookie or a ticket that was never given out.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only clients over HTTP show any")
    )]
    WrongCredentials,
}

/// Takes a diagnostic to where operators read it. It runs on the log's threads and on those of readers.
pub(crate) type DiagnosticSink = Arc<dyn Fn(Diagnostic<'_>) + Send + Sync>;

/// Tells each cause once.
pub(crate) struct Diagnostics {
    tell: Option<DiagnosticSink>,
    told: [AtomicBool; 4],
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl Diagnostics {
    pub(crate) fn new(tell: Option<DiagnosticSink>) -> Self {
        Self {
            tell,
            told: Default::default(),
        }
    }

    pub(crate) fn tell(&self, trouble: Diagnostic<'_>) {
        let [store, dropped, ended, credentials] = &self.told;
        let told = match trouble {
            Diagnostic::StoreFails(_) => store,
            Diagnostic::Dropped(_) => dropped,
            Diagnostic::Ended(_) => ended,
            Diagnostic::WrongCredentials => credentials,
        };
        if let Some(tell) = &self.tell
            && !told.swap(true, Ordering::Relaxed)
        {
            // What listens is the host's, and its mistakes are not to end the log.
            guard(|| tell(trouble));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: DiagnosticSink = {
            let told = Arc::clone(&told);
            Arc::new(move |trouble| told.lock().unwrap().push(format!("{trouble:?}")))
        };
        let diagnostics = Diagnostics::new(Some(tell));
        for text in ["the disk is full", "the disk is still full"] {
            diagnostics.tell(Diagnostic::StoreFails(text));
            diagnostics.tell(Diagnostic::Ended(text));
        }
        assert_eq!(
            *told.lock().unwrap(),
            [
                "StoreFails(\"the disk is full\")",
                "Ended(\"the disk is full\")"
            ]
        );
        Diagnostics::new(None).tell(Diagnostic::Ended("nobody listens"));
        Diagnostics::new(Some(Arc::new(|_| panic!("the host's own mistake"))))
            .tell(Diagnostic::Ended("it goes on"));
    }
}
