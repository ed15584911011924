//! Acknowledgements: a caller that waits for the id of its event holds a [`PendingAck`], and its record contains the
//! number of that `PendingAck`. The caller waits in a task of the app; the worker thread sends the answer.

use tokio::sync::oneshot;

use crate::{
    ingest::buffer::{class::Ack, push::IngestBuffer},
    util::sync::{atomic::Ordering, lock},
};

/// A pending acknowledgement: waits for the id of one event. Dropping this value removes its entry from the buffer.
#[derive(Debug)]
pub(crate) struct PendingAck<'a> {
    pub(super) buffer: &'a IngestBuffer,
    pub(crate) number: u64,
    pub(super) receiver: oneshot::Receiver<Ack>,
}

impl PendingAck<'_> {
    /// Returns the answer, or `None` if the event was not stored.
    pub(crate) async fn recv(&mut self) -> Option<Ack> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        self.buffer.resolve_ack(self.number, None);
    }
}

impl IngestBuffer {
    pub(crate) fn pending_ack(&self) -> PendingAck<'_> {
        let (sender, receiver) = oneshot::channel();
        let number = self.next_ack.fetch_add(1, Ordering::Relaxed);
        lock(&self.acks).insert(number, sender);
        PendingAck {
            buffer: self,
            number,
            receiver,
        }
    }

    /// Resolves a pending acknowledgement. With `None`, a waiting caller gets no answer.
    pub(crate) fn resolve_ack(&self, number: u64, answer: Option<Ack>) {
        let sender = lock(&self.acks).remove(&number);
        if let (Some(sender), Some(answer)) = (sender, answer) {
            // The caller may have stopped waiting; the event is stored in any case.
            let _receiver_gone = sender.send(answer);
        }
    }
}
