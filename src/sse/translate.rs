//! The seam between records and events: what the span layer does on the log's thread.

use crate::sse::{batch::Batch, event::StreamKey};

/// Turns records into events. It runs on the worker thread only.
pub(crate) trait Translator: Send + 'static {
    /// Sees every note of a turn before any of its records is translated.
    fn note(&mut self, _record: &[u8]) {}

    /// Whether everything before the record must be stored before it is translated.
    fn needs_stored(&self, _record: &[u8]) -> bool {
        false
    }

    /// An event that its caller had encoded stands at this place of the batch.
    fn encoded(&mut self, _place: usize, _payload: &[u8]) {}

    /// Appends the events that the record stands for.
    fn translate(&mut self, record: &[u8], batch: &mut Batch);

    /// The batch, of all events translated since the last call, is stored as `first..` and not yet visible.
    fn appended(&mut self, _first: u64) {}

    /// The batch of all events translated since the last call was refused by the store.
    fn refused(&mut self) {}

    /// That batch was refused by the store, but readers will get it, once, as `first..`.
    fn shown(&mut self, _first: u64) {
        self.refused();
    }

    /// These streams hold no event any more.
    fn evicted(&mut self, _keys: &[StreamKey]) {}
}
