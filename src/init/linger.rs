//! Keeps the page after the end of a short program, until a viewer has seen that end. It blocks the thread that drops
//! the guard, and prints nothing.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use crate::{error::Error, init::duration_text, live_spans::LiveSpans};

/// The variable with the time that the page stays.
const VARIABLE: &str = "LIVESPAN_LINGER";
/// How often to check whether a viewer came or left.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a viewer may be away before it counts as gone. A browser that reloads the page is back within that time.
const RETURN_TIME: Duration = Duration::from_secs(2);

/// How long the page stays for a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linger {
    AtMost(Duration),
    Forever,
}

impl Linger {
    /// Reads the time from the environment. Returns `None` if the variable is not set or empty.
    pub(super) fn from_env() -> Result<Option<Self>, Error> {
        let Some(value) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let text = value.to_string_lossy();
        Self::parse(&text).map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "read {VARIABLE}={text}: it is neither forever nor a duration such as 500ms, 30s, 5m or 1h"
            ))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "forever" {
            return Some(Self::Forever);
        }
        duration_text::parse(text).map(Self::AtMost)
    }

    /// Waits until a viewer has seen the end of the program, or the time is over. A viewer is an open stream. If a
    /// stream is open already, it gets the end at shutdown, and this method does not wait. Otherwise it waits for a
    /// first stream, and then until no stream has been open for [`RETURN_TIME`].
    pub(super) fn wait(self, live: &LiveSpans) {
        let streams = &live.shared.stream_limits;
        if streams.open_streams() > 0 {
            return;
        }
        let begun = Instant::now();
        let is_over = || match self {
            Self::AtMost(limit) => begun.elapsed() >= limit,
            Self::Forever => false,
        };
        // After the program has shut the log down itself, there is no page.
        let has_page = || !live.shared.parts.buffer().is_closed();
        let mut known = streams.opened_streams();
        let mut last_seen: Option<Instant> = None;
        while has_page() && !is_over() {
            // A stream may open and close between two checks.
            let opened = streams.opened_streams();
            if opened != known || streams.open_streams() > 0 {
                known = opened;
                last_seen = Some(Instant::now());
            } else if last_seen.is_some_and(|seen| seen.elapsed() >= RETURN_TIME) {
                return;
            }
            thread::park_timeout(CHECK_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_anything_else_is_refused() {
        let at_most = |milliseconds| Some(Linger::AtMost(Duration::from_millis(milliseconds)));
        for (text, expected) in [
            ("forever", Some(Linger::Forever)),
            ("0s", at_most(0)),
            ("250ms", at_most(250)),
            ("30s", at_most(30_000)),
            ("2m", at_most(120_000)),
            ("1h", at_most(3_600_000)),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("+1s", None),
            ("1.5s", None),
            ("30 s", None),
            ("30s ", None),
            ("Forever", None),
            ("18446744073709551615h", None),
            ("30ß", None),
        ] {
            assert_eq!(Linger::parse(text), expected, "{text}");
        }
    }
}
