//! Reports diagnostics to operators through the SDK's own internal log (feature `internal-logs`), as the SDK's own
//! processors do. It never prints anything. It runs on the thread that noticed the cause: the worker, a store thread,
//! the thread of a reader or a request handler, or the watcher of tasks.

use opentelemetry::otel_warn;

use crate::engine::diagnostics::Diagnostic;

/// Writes a diagnostic to the SDK's internal log.
pub(crate) fn report(diagnostic: Diagnostic<'_>) {
    match diagnostic {
        Diagnostic::StoreFailing(error) => {
            otel_warn!(
                name: "Livespan.StoreFails",
                message = "the store of the log fails; live delivery continues, and readers get a gap for lost events",
                error = error
            );
        }
        Diagnostic::DamagedEvents(sequence) => {
            otel_warn!(
                name: "Livespan.DamagedEvents",
                message = "the store has damaged events, which the log cannot have written; readers get a gap instead, and further damaged events are only counted in /status",
                first = sequence.get()
            );
        }
        Diagnostic::ReadFailed(error) => {
            otel_warn!(
                name: "Livespan.ReadFails",
                message = "a reader could not read from the store and was informed; the log and other readers continue",
                error = error
            );
        }
        Diagnostic::Dropped(dropped) => {
            otel_warn!(
                name: "Livespan.Dropped",
                message = "events were dropped by a full buffer or a failing store; further drops are only counted",
                starts = dropped.starts,
                ends = dropped.ends,
                other = dropped.other
            );
        }
        Diagnostic::Ended(why) => {
            otel_warn!(name: "Livespan.Ended", message = why);
        }
        Diagnostic::ReadersLeft(count) => {
            otel_warn!(
                name: "Livespan.ReadersLeft",
                message = "subscriptions still exist long after the end of the log; the log's thread ends without waiting for them",
                count = count as u64
            );
        }
        Diagnostic::WrongCredentials => {
            otel_warn!(
                name: "Livespan.WrongCredentials",
                message = "a client sent an invalid token, cookie or ticket and was refused; further attempts are only counted in /status"
            );
        }
    }
}

/// Reports a span whose guard is held across an `.await`.
#[cfg(feature = "tracing")]
pub(crate) fn report_held_guard(name: &str, place: &str) {
    otel_warn!(
        name: "Livespan.HeldGuard",
        message = "the guard of a span is held across an .await, so other tasks appear inside of the span: use .instrument(span)",
        span = name,
        place = place
    );
}
