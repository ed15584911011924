//! The interface between the span encoder and a receiver of events of other processes, and the worker's progress within
//! a request. It runs on the worker thread.

use std::sync::{Arc, Mutex};

use crate::{
    log::batch::Batch,
    util::sync::{Instant, lock},
};

/// A receiver of events of other processes, from the worker's view.
pub(crate) trait ReceivedEvents<E>: Send {
    /// Appends events of the next request, up to the size of a batch.
    fn encode_next(&mut self, encoder: &mut E, batch: &mut Batch) -> RequestProgress;

    /// Called when everything appended since the last call is stored and visible, or was refused.
    fn on_committed(&mut self, is_stored: bool);

    /// Appends the events that are due without a request, such as the ends of lost spans.
    fn encode_due(&mut self, encoder: &mut E, batch: &mut Batch);

    /// Returns when [`encode_due`](Self::encode_due) must be called next, or `None` if nothing is due.
    fn next_due(&self) -> Option<Instant>;
}

/// Whether all events of a request are in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestProgress {
    /// The batch is full. The rest of the request follows after the batch is stored.
    BatchFull,
    Complete,
}

/// The receiver, and the worker's progress within the request that it encodes now.
pub(in crate::encoder) struct ReceiverState<E> {
    /// Only the worker uses this lock, a few times for each batch.
    pub(in crate::encoder) receiver: Option<Arc<Mutex<dyn ReceivedEvents<E>>>>,
    /// Whether a part of the current request is still to be encoded.
    pub(in crate::encoder) has_more: bool,
    /// Whether the store has kept all batches since the last [`report`](Self::report).
    is_stored: bool,
}

impl<E> ReceiverState<E> {
    pub(in crate::encoder) fn of(receiver: Option<Arc<Mutex<dyn ReceivedEvents<E>>>>) -> Self {
        Self {
            receiver,
            has_more: false,
            is_stored: true,
        }
    }

    /// Notes whether the store kept a batch. Readers do not see its events yet.
    pub(in crate::encoder) fn note(&mut self, is_stored: bool) {
        self.is_stored &= is_stored;
    }

    /// Reports to the receiver whether everything encoded so far is stored.
    pub(in crate::encoder) fn report(&mut self) {
        let is_stored = std::mem::replace(&mut self.is_stored, true);
        if let Some(receiver) = &self.receiver {
            lock(receiver).on_committed(is_stored);
        }
    }
}
