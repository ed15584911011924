//! The end of a trace, and a queue for each function that the application registered for it. The
//! worker thread sends to the queues and never waits.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
    time::Duration,
};

use crate::{
    error::Error,
    span::event::TraceId,
    trace::{state::TraceState, summary::Summary},
    util::sync::lock,
};

/// A trace that has ended. [`LiveSpans::on_trace_end`](crate::LiveSpans::on_trace_end) passes it to
/// the registered function.
#[derive(Clone, Debug)]
pub struct TraceEnd {
    trace_id: TraceId,
    summary: Summary,
}

impl TraceEnd {
    /// Returns `None` if the trace is still running.
    pub(crate) fn of(summary: Summary) -> Option<Self> {
        let is_open = matches!(summary.state, TraceState::Running | TraceState::Waiting);
        let trace_id = TraceId::from_bytes(summary.id).filter(|_| !is_open)?;
        Some(Self { trace_id, summary })
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Returns the name of the trace's root.
    pub fn name(&self) -> &str {
        &self.summary.name
    }

    /// Returns the service of the trace's root.
    pub fn service(&self) -> &str {
        &self.summary.service
    }

    /// Returns the state in which the trace ended.
    pub fn state(&self) -> TraceState {
        self.summary.state
    }

    /// Returns the time from the trace's first start to its last end.
    pub fn duration(&self) -> Duration {
        let milliseconds = self.summary.duration_ms.unwrap_or_default();
        Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default()
    }

    /// Returns the number of the trace's spans.
    pub fn spans(&self) -> u64 {
        self.summary.spans.total
    }

    /// Returns the number of the trace's spans that failed, panicked or were lost.
    pub fn errors(&self) -> u64 {
        self.summary.spans.errors
    }

    /// Returns the trace's entry in `GET /traces`, as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.summary).unwrap_or_default()
    }
}

/// The queues of ended traces, one for each registered function.
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

/// The queue of one function. Nothing is ever sent on `finished`: it disconnects when the
/// function's thread has ended.
pub(crate) struct TraceEndQueue {
    pub(crate) sender: SyncSender<TraceEnd>,
    pub(crate) finished: Receiver<Infallible>,
}

impl TraceEnds {
    /// Upper bound on the registered functions.
    pub(crate) const QUEUES_MAX: usize = 16;

    pub(crate) fn add(&self, queue: TraceEndQueue) -> Result<(), Error> {
        let mut queues = lock(&self.queues);
        if queues.len() == Self::QUEUES_MAX {
            let message = format!(
                "at most {} functions can be called when traces end",
                Self::QUEUES_MAX
            );
            return Err(Error::invalid(message));
        }
        queues.push(queue);
        self.is_watched.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes the queues whose thread has ended, or could not be started.
    pub(crate) fn remove_finished(&self) {
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.finished.try_recv() == Err(TryRecvError::Empty));
        self.is_watched.store(!queues.is_empty(), Ordering::Release);
    }

    /// Returns whether any function is registered.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    /// Sends an ended trace to all functions. If a queue is full, the trace is dropped there and
    /// counted.
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

    /// Closes all queues. Each returned receiver disconnects when the queue's thread has processed
    /// the remaining traces.
    pub(crate) fn close(&self) -> Vec<Receiver<Infallible>> {
        self.is_watched.store(false, Ordering::Release);
        let queues = std::mem::take(&mut *lock(&self.queues));
        queues.into_iter().map(|queue| queue.finished).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_queue_whose_thread_did_not_start_frees_its_place() {
        let ends = TraceEnds::default();
        let queue = || {
            let (sender, ended) = mpsc::sync_channel(1);
            let (alive, finished) = mpsc::channel();
            (TraceEndQueue { sender, finished }, (ended, alive))
        };
        for _ in 0..TraceEnds::QUEUES_MAX {
            let (queue, thread) = queue();
            ends.add(queue).unwrap();
            drop(thread);
            ends.remove_finished();
            assert!(!ends.is_watched());
        }
        let (first, thread) = queue();
        ends.add(first).unwrap();
        ends.remove_finished();
        assert!(ends.is_watched());
        drop(thread);
    }
}
