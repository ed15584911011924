//! [`InitGuard`]: keeps alive what [`init()`](crate::init()) and [`layer()`](crate::layer()) set up, and ends it in
//! order.

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

/// Keeps what [`init()`](crate::init()) or [`layer()`](crate::layer()) set up alive. Dropping it shuts the provider and
/// the server down.
///
/// A short program is over before anybody has opened the page. `LIVESPAN_LINGER=30s` (or `500ms`, `5m`, `1h`, `forever`)
/// keeps the page after that: dropping the guard then waits, for that time at most, until a viewer has seen the end.
/// [`wait`](Self::wait) does so whatever the environment says.
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

    /// Returns the dashboard's address. For a program that joined another livespan, it is the address of that one.
    pub fn url(&self) -> String {
        let joined = self.joined.as_ref().and_then(Joined::page);
        joined.map_or_else(|| self.server.url(), str::to_owned)
    }

    /// Ends the program's spans, and blocks until a viewer has seen the end, for the time that `LIVESPAN_LINGER` says;
    /// without it, for as long as it takes.
    ///
    /// A viewer is an open stream, such as the page. One that is open already sees the end at once, so this does not
    /// wait. Otherwise it waits until one has come and has been gone for two seconds. Spans that are open now are shown
    /// as lost, so drop them before. Call it last in `main`: it blocks its thread.
    /// For a program that joined another livespan, it waits only until that one has read everything.
    pub fn wait(mut self) {
        if self.joined.is_none() {
            self.linger.get_or_insert(Linger::Forever);
        }
    }
}

/// Upper bound on the time that a program that a panic aborts waits until its viewers have the end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// What is left to do for viewers of a program that a panic aborts: nothing is dropped in it, so the guard ends nothing.
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
        // There is nobody left to tell about an error.
        drop(self.live.shutdown_within(ABORT_TIMEOUT));
    }
}

impl Drop for InitGuard {
    fn drop(&mut self) {
        // One limit for both. There is nobody left to tell about an error.
        let begun = Instant::now();
        let timeout = LiveSpans::SHUTDOWN_TIMEOUT;
        drop(self.provider.shutdown_with_timeout(timeout / 2));
        let left = timeout.saturating_sub(begun.elapsed());
        if let Some(linger) = self.linger {
            linger.wait(&self.live);
        }
        if let Some(joined) = &mut self.joined {
            // Its reader would begin anew behind the end of its stream.
            joined.stop_announcing();
            joined.wait_for_reader();
        }
        drop(self.live.shutdown_within(left));
    }
}
