//! [`InitGuard`]: keeps alive what [`init()`](crate::init()) and [`layer()`](crate::layer()) set up, and ends it in
//! order.

use std::time::Instant;

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{http::server::LiveServer, live_spans::LiveSpans};

/// Keeps what [`init()`](crate::init()) or [`layer()`](crate::layer()) set up alive. Dropping it shuts the provider and
/// the server down.
#[must_use = "dropping the guard stops the server"]
pub struct InitGuard {
    pub(super) live: LiveSpans,
    pub(super) provider: SdkTracerProvider,
    pub(super) server: LiveServer,
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

    /// Returns the dashboard's address.
    pub fn url(&self) -> String {
        self.server.url()
    }
}

impl Drop for InitGuard {
    fn drop(&mut self) {
        // One limit for both. There is nobody left to tell about an error.
        let begun = Instant::now();
        let timeout = LiveSpans::SHUTDOWN_TIMEOUT;
        drop(self.provider.shutdown_with_timeout(timeout / 2));
        let left = timeout.saturating_sub(begun.elapsed());
        drop(self.live.shutdown_within(left));
    }
}
