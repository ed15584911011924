//! Bounds the concurrent reads that need much memory or a thread of the store. All connections share the permits.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::live_spans::LiveSpans;

#[derive(Debug)]
pub(crate) struct ReadPermits {
    traces: Arc<Semaphore>,
    stored_pages: Arc<Semaphore>,
}

impl Default for ReadPermits {
    fn default() -> Self {
        Self {
            traces: Arc::new(Semaphore::new(LiveSpans::TRACES_AT_ONCE_MAX)),
            // Leaves at least one of the store's read threads to the readers of streams.
            stored_pages: Arc::new(Semaphore::new(1)),
        }
    }
}

impl ReadPermits {
    /// Waits for a permit to write a whole trace, or to collect the running spans. Returns `None` after
    /// [`TRACE_PERMIT_TIMEOUT`](LiveSpans::TRACE_PERMIT_TIMEOUT).
    pub(crate) async fn for_trace(&self) -> Option<OwnedSemaphorePermit> {
        acquire(&self.traces, LiveSpans::TRACE_PERMIT_TIMEOUT).await
    }

    /// Waits for a permit to read a page of traces or log records from the store. Returns `None` after
    /// [`LIST_PERMIT_TIMEOUT`](LiveSpans::LIST_PERMIT_TIMEOUT).
    pub(crate) async fn for_stored_page(&self) -> Option<OwnedSemaphorePermit> {
        acquire(&self.stored_pages, LiveSpans::LIST_PERMIT_TIMEOUT).await
    }
}

async fn acquire(permits: &Arc<Semaphore>, patience: Duration) -> Option<OwnedSemaphorePermit> {
    let permit = timeout(patience, Arc::clone(permits).acquire_owned()).await;
    // The semaphore is never closed.
    permit.ok()?.ok()
}
