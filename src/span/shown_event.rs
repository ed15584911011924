//! Recognises a `tracing` event that reaches one log by two routes: through `livespan::layer()`, and through an
//! appender and a log processor of the SDK. Both routes get the event on the same thread, one right after the other,
//! and both have the static name of its source location. It runs on the host's threads: it never waits and never
//! panics.

use std::cell::Cell;

use crate::util::time::Timestamp;

/// Upper bound on the time between the two deliveries of one event: 100 ms, in nanoseconds. An earlier event from the
/// same source location is another event.
const APART_MAX: u64 = 100_000_000;

/// The route by which an event reaches a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventRoute {
    #[cfg(feature = "tracing")]
    Layer,
    #[cfg(feature = "logs")]
    LogProcessor,
}

#[derive(Clone, Copy, Debug)]
struct ShownEvent {
    log: u64,
    /// The address and length of the name: each source location has its own.
    name: (usize, usize),
    route: EventRoute,
    at: Timestamp,
}

thread_local! {
    /// The event that this thread showed last, until the other route delivers it, too.
    static LAST: Cell<Option<ShownEvent>> = const { Cell::new(None) };
}

/// Returns whether the event was already shown through the other route. If not, the caller must show it now.
///
/// Call it only if both routes lead to the log with this number, and only for an event that is to be shown.
pub(crate) fn is_shown_already(log: u64, name: &str, route: EventRoute, at: Timestamp) -> bool {
    let event = ShownEvent {
        log,
        name: (name.as_ptr().addr(), name.len()),
        route,
        at,
    };
    let is_same = LAST.take().is_some_and(|last| {
        (last.log, last.name) == (event.log, event.name)
            && last.route != event.route
            && at.nanos().abs_diff(last.at.nanos()) <= APART_MAX
    });
    if !is_same {
        LAST.set(Some(event));
    }
    is_same
}

#[cfg(all(test, feature = "tracing", feature = "logs"))]
mod tests {
    use super::*;
    use EventRoute::{Layer, LogProcessor};

    #[test]
    fn an_event_is_shown_only_by_the_route_that_delivers_it_first() {
        let at = Timestamp::from_nanos;
        let (here, there) = ("event src/here.rs:1", "event src/there.rs:2");
        for (log, name, route, time, expected) in [
            // Either route may be the first.
            (1, here, Layer, 10, false),
            (1, here, LogProcessor, 12, true),
            (1, here, LogProcessor, 20, false),
            (1, here, Layer, 18, true),
            // A loop, whose event one of the routes filters out.
            (1, here, Layer, 30, false),
            (1, here, Layer, 31, false),
            (1, here, LogProcessor, 32, true),
            (1, here, LogProcessor, 33, false),
            // Another source location, another log, another time.
            (1, there, Layer, 40, false),
            (1, here, LogProcessor, 41, false),
            (2, here, Layer, 42, false),
            (2, here, LogProcessor, 42 + APART_MAX + 1, false),
            (2, here, Layer, 42 + 2 * APART_MAX + 1, true),
        ] {
            assert_eq!(
                is_shown_already(log, name, route, at(time)),
                expected,
                "{log} {name} {route:?} {time}"
            );
        }
    }
}
