//! Acknowledgements: a caller that waits for the id of its event holds a [`PendingAck`], whose number travels with the
//! record. Callers wait on tasks of the app; the worker thread resolves them. Dropping a pending acknowledgement
//! removes its entry.

use tokio::sync::oneshot;

use crate::{
    ingest::buffer::push::IngestBuffer,
    util::sync::{atomic::Ordering, lock},
    wire::id::EventId,
};

/// A pending acknowledgement: waits for the id of one event. Dropping this value removes its entry from the buffer.
#[derive(Debug)]
pub(crate) struct PendingAck<'a> {
    pub(super) buffer: &'a IngestBuffer,
    pub(crate) number: u64,
    pub(super) receiver: oneshot::Receiver<EventId>,
}

impl PendingAck<'_> {
    /// Returns the id, or `None` if the event was not stored.
    pub(crate) async fn recv(&mut self) -> Option<EventId> {
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

    /// Resolves a pending acknowledgement with the event's id, or with `None` if the event was not stored.
    pub(crate) fn resolve_ack(&self, ack: u64, id: Option<EventId>) {
        let sender = lock(&self.acks).remove(&ack);
        if let (Some(sender), Some(id)) = (sender, id) {
            // The caller may have stopped waiting; the event is stored in any case.
            let _receiver_gone = sender.send(id);
        }
    }
}
