//! [`InitGuard`] owns the parts that [`init()`](crate::init()) and [`layer()`](crate::layer()) set up, and shuts them
//! down in order.

use std::time::{Duration, Instant};

use crate::{
    http::server::LiveServer,
    init::{
        join::{self, Joined},
        linger::Linger,
    },
    live_spans::LiveSpans,
    otel::LiveTracerProvider,
};

/// Keeps alive the provider and the server that [`init()`](crate::init()) or [`layer()`](crate::layer()) set up.
/// Dropping the guard shuts them down.
///
/// A short program ends before anybody can open the page. With `LIVESPAN_LINGER=30s` (or `500ms`, `5m`, `1h`,
/// `forever`), dropping the guard waits until a viewer has seen the end of the program, at most for that time.
/// [`wait`](Self::wait) does so regardless of the environment.
#[must_use = "dropping the guard stops the server"]
pub struct InitGuard {
    pub(super) live: LiveSpans,
    pub(super) provider: LiveTracerProvider,
    pub(super) server: LiveServer,
    pub(super) linger: Option<Linger>,
    pub(super) joined: Option<Joined>,
}

impl std::fmt::Debug for InitGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitGuard")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl InitGuard {
    /// Returns the log's handle.
    pub fn live(&self) -> &LiveSpans {
        &self.live
    }

    /// Returns the dashboard's address. For a program that joined another livespan, it is the address of that
    /// livespan's page.
    pub fn url(&self) -> String {
        let joined = self.joined.as_ref().and_then(Joined::page);
        joined.map_or_else(|| self.server.url(), str::to_owned)
    }

    /// Ends the program's spans, and blocks until a viewer has seen the end, at most for the time in `LIVESPAN_LINGER`.
    /// Without that variable, there is no limit.
    ///
    /// A viewer is an open stream, such as the page. If a stream is open already, it gets the end at once, and this
    /// call does not wait. Otherwise the call waits until a stream has opened, and none has been open for two seconds.
    /// Spans that are still open are shown as lost, so drop them before. Call it last in `main`: it blocks its thread.
    /// A program that joined another livespan waits only until that livespan has read everything.
    pub fn wait(mut self) {
        if self.joined.is_none() {
            self.linger.get_or_insert(Linger::Forever);
        }
    }
}

/// Upper bound on the time that a program aborted by a panic waits, after `LIVESPAN_LINGER`, until its viewers have the
/// end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The steps that show viewers the end of a program aborted by a panic. An abort drops nothing, so the guard cannot do
/// it.
#[derive(Clone, Debug)]
pub(super) struct AbortedProgram {
    pub(super) live: LiveSpans,
    pub(super) linger: Option<Linger>,
    pub(super) has_joined: bool,
}

impl AbortedProgram {
    /// Shows the end, as dropping the guard would. It runs on the thread that panics.
    pub(super) fn end(&self) {
        if self.live.shared.parts.buffer().is_closed() {
            return;
        }
        if self.has_joined {
            join::wait_for_reader(&self.live, ABORT_TIMEOUT);
        } else if let Some(linger) = self.linger {
            linger.wait(&self.live);
        }
        // There is no caller to return an error to.
        drop(self.live.shutdown_within(ABORT_TIMEOUT));
    }
}

impl Drop for InitGuard {
    fn drop(&mut self) {
        // One limit for the shutdowns of the provider and of the log. There is no caller to return an error to.
        let begun = Instant::now();
        let timeout = LiveSpans::SHUTDOWN_TIMEOUT;
        drop(self.provider.shutdown_with_timeout(timeout / 2));
        let left = timeout.saturating_sub(begun.elapsed());
        if let Some(linger) = self.linger {
            linger.wait(&self.live);
        }
        if let Some(joined) = &mut self.joined {
            // Otherwise the reader would reconnect after the end of its stream and read everything again.
            joined.stop_announcing();
            joined.wait_for_reader();
        }
        drop(self.live.shutdown_within(left));
    }
}
