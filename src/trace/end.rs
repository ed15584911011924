//! The end of a trace, and the queues of those that are told of it. The worker thread sends; it never waits.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use crate::{
    error::Error,
    span::event::TraceId,
    trace::{state::TraceState, summary::Summary},
    util::sync::lock,
};

/// A trace that has ended, as `GET /traces` lists it. [`LiveSpans::on_trace_end`](crate::LiveSpans::on_trace_end) hands
/// it to a function of yours.
#[derive(Clone, Debug)]
pub struct TraceEnd {
    trace_id: TraceId,
    summary: Summary,
}

impl TraceEnd {
    /// Returns `None` if the trace runs.
    pub(crate) fn of(summary: Summary) -> Option<Self> {
        let is_open = matches!(summary.state, TraceState::Running | TraceState::Waiting);
        let trace_id = TraceId::from_bytes(summary.id).filter(|_| !is_open)?;
        Some(Self { trace_id, summary })
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Returns the name of its root.
    pub fn name(&self) -> &str {
        &self.summary.name
    }

    /// Returns the service of its root.
    pub fn service(&self) -> &str {
        &self.summary.service
    }

    /// Returns how it ended.
    pub fn state(&self) -> TraceState {
        self.summary.state
    }

    /// Returns the time from its first start to its last end.
    pub fn duration(&self) -> Duration {
        let milliseconds = self.summary.duration_ms.unwrap_or_default();
        Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default()
    }

    /// Returns the number of its spans.
    pub fn spans(&self) -> u64 {
        self.summary.spans.total
    }

    /// Returns the number of its spans that failed, panicked or were lost.
    pub fn errors(&self) -> u64 {
        self.summary.spans.errors
    }

    /// Returns all that `GET /traces` says of the trace, as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.summary).unwrap_or_default()
    }
}

/// The queues of ended traces, one for each function that is told of them.
#[derive(Default)]
pub(crate) struct TraceEnds {
    is_watched: AtomicBool,
    dropped: AtomicU64,
    queues: Mutex<Vec<TraceEndQueue>>,
}

impl fmt::Debug for TraceEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceEnds")
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// The queue of one function, and what ends when its thread has ended. Nothing is ever sent on the latter.
pub(crate) struct TraceEndQueue {
    pub(crate) sender: SyncSender<TraceEnd>,
    pub(crate) finished: Receiver<Infallible>,
}

impl TraceEnds {
    /// Upper bound on the functions that are told.
    pub(crate) const QUEUES_MAX: usize = 16;

    pub(crate) fn add(&self, queue: TraceEndQueue) -> Result<(), Error> {
        let mut queues = lock(&self.queues);
        if queues.len() == Self::QUEUES_MAX {
            let message = format!("at most {} functions are told of ends", Self::QUEUES_MAX);
            return Err(Error::invalid(message));
        }
        queues.push(queue);
        self.is_watched.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns whether any function is told.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    /// Hands an ended trace to all functions. Where a queue is full, it is dropped and counted.
    pub(crate) fn send(&self, end: &TraceEnd) {
        for queue in &*lock(&self.queues) {
            if queue.sender.try_send(end.clone()).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Ends all queues. Returns what ends when their threads have taken what is in them.
    pub(crate) fn close(&self) -> Vec<Receiver<Infallible>> {
        self.is_watched.store(false, Ordering::Release);
        let queues = std::mem::take(&mut *lock(&self.queues));
        queues.into_iter().map(|queue| queue.finished).collect()
    }
}
