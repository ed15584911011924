//! Waits until a trace matches, a trace has ended, or traces have stopped changing. It runs on the
//! task of a request, sleeps until the log wakes it, and checks at most ten times a second.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    engine::log::Log, live_spans::LiveSpans, log::waker::WakeFlag,
    report::running::span_now::age_of, span::event::TraceId, trace::filter::TraceFilter,
    util::time::Timestamp,
};

/// Lower bound on the time between two checks.
const INTERVAL: Duration = Duration::from_millis(100);
/// The time after which the wait checks again without an event, because a search may begin to match as
/// time passes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The condition to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitFor {
    /// A trace that the filter accepts has an event after this one.
    Match { after: u64 },
    /// No trace that the filter accepts has changed for this long since the wait began. If the time
    /// limit of the wait is zero, the time before the wait counts as well.
    Quiet {
        quiet: Duration,
        /// If not zero, a trace must also have had an event after this sequence.
        after: u64,
    },
    /// This trace is complete.
    End(TraceId),
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Matched,
    TimedOut,
    /// The log has been shut down.
    LogEnded,
}

/// Wakes a task when something is published.
struct Watch {
    log: Arc<Log>,
    flag: Arc<WakeFlag>,
}

impl Watch {
    fn of(log: &Arc<Log>) -> Self {
        let flag = Arc::new(WakeFlag::default());
        log.join(&flag, None);
        log.readers().register();
        Self {
            log: Arc::clone(log),
            flag,
        }
    }

    async fn notified(&self) {
        std::future::poll_fn(|cx| self.flag.poll_notified(cx)).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.log.leave(&self.flag, None);
        self.log.readers().unregister();
    }
}

/// Waits until the condition holds, or until the time limit.
pub(crate) async fn wait(
    live: &LiveSpans,
    filter: &TraceFilter,
    until: WaitFor,
    timeout: Duration,
) -> Waited {
    let (log, index) = (live.log(), &live.shared.index);
    let watch = Watch::of(log);
    let deadline = Instant::now() + timeout;
    let (_, mut version) = index.changed_since(filter, u64::MAX);
    let mut changed_at = Instant::now();
    if timeout.is_zero() {
        let newest = index.newest_time(filter).unwrap_or_default();
        let age = Duration::from_nanos(age_of(newest, Timestamp::now()));
        changed_at = changed_at.checked_sub(age).unwrap_or(changed_at);
    }
    loop {
        let now = Instant::now();
        let mut check_at = now + CHECK_INTERVAL;
        let is_over = match until {
            WaitFor::Match { after } => index.has_match(filter, after),
            WaitFor::End(id) => index.is_complete(id.to_bytes(), u64::MAX),
            WaitFor::Quiet { quiet, after } => {
                let (has_changed, newest) = index.changed_since(filter, version);
                version = newest;
                if has_changed {
                    changed_at = now;
                }
                check_at = changed_at + quiet;
                let has_begun = after == 0 || index.has_match(filter, after);
                if now >= check_at && !has_begun {
                    check_at = now + CHECK_INTERVAL;
                    false
                } else {
                    now >= check_at
                }
            }
        };
        if is_over {
            return Waited::Matched;
        }
        if log.is_closed() || log.streams_end_at().is_some() {
            return Waited::LogEnded;
        }
        if now >= deadline {
            return Waited::TimedOut;
        }
        let wake_at = check_at.min(deadline);
        tokio::select! {
            () = watch.notified() => sleep_until((now + INTERVAL).min(wake_at)).await,
            () = sleep_until(wake_at) => {}
        }
    }
}
