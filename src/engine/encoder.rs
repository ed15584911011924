//! The seam between records and events: what the span layer does on the log's thread.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use crate::log::{
    batch::{Batch, StoredEvent},
    event::StreamKey,
};

/// What learns of events that this log did not make, as they stand in the store. It is called on any thread, one call at
/// a time.
pub(crate) trait LogObserver: Send + Sync {
    /// Takes in events, in the order of the log.
    fn observe(&self, events: &[StoredEvent]);

    /// Streams from before this event in which something is open, as far as is known here: not more than this many.
    fn open_streams(&self, before: u64, limit: usize) -> Vec<StreamKey>;

    /// Begins to learn anew, beside what is known: all of the streams that begin with the event `from` or later, and some
    /// of older ones.
    fn begin_rebuild(&self, from: u64) -> Box<dyn IndexRebuild>;
}

pub(crate) type SharedObserver = Arc<dyn LogObserver>;

/// What is being learnt anew.
pub(crate) trait IndexRebuild {
    /// Takes in events, those of each stream in the order of the log.
    fn observe(&mut self, events: &[StoredEvent]);

    /// Takes the place of what was known.
    fn commit(self: Box<Self>);
}

/// Learns nothing.
struct NoopObserver;

impl LogObserver for NoopObserver {
    fn observe(&self, _events: &[StoredEvent]) {}

    fn open_streams(&self, _before: u64, _limit: usize) -> Vec<StreamKey> {
        Vec::new()
    }

    fn begin_rebuild(&self, _from: u64) -> Box<dyn IndexRebuild> {
        Box::new(Self)
    }
}

impl IndexRebuild for NoopObserver {
    fn observe(&mut self, _events: &[StoredEvent]) {}

    fn commit(self: Box<Self>) {}
}

/// Turns records into events. It runs on the worker thread only.
pub(crate) trait RecordEncoder: Send + 'static {
    /// Sees every note of a turn before any of its records is translated.
    fn on_hint(&mut self, _record: &[u8]) {}

    /// Whether everything before the record must be stored before it is translated.
    fn needs_commit_before(&self, _record: &[u8]) -> bool {
        false
    }

    /// What is kept of an event that its caller had encoded.
    fn redact_encoded<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(payload)
    }

    /// An event that its caller had encoded stands at this place of the batch.
    fn on_pre_encoded(&mut self, _place: usize, _payload: &[u8]) {}

    /// Appends the events that the record stands for.
    fn encode(&mut self, record: &[u8], batch: &mut Batch);

    /// Everything that was translated is stored, or refused: appends the events that had to wait for that.
    fn on_committed(&mut self, _batch: &mut Batch) {}

    /// The store has these events of the batch already, at ascending places: they take no number, and are not in it.
    fn on_duplicates(&mut self, _places: &[usize]) {}

    /// The batch, of all events translated since the last call, is stored as `first..` and not yet visible.
    fn on_stored(&mut self, _first: u64) {}

    /// The batch is stored, and the observer has seen it there already.
    fn on_already_observed(&mut self) {}

    /// The batch of all events translated since the last call was refused by the store.
    fn on_rejected(&mut self) {}

    /// The store works again: appends what must stand before all else that it keeps from now on.
    fn on_store_recovered(&mut self, _batch: &mut Batch) {}

    /// That batch was refused by the store, but readers will get it, once, as `first..`.
    fn on_unstored(&mut self, _first: u64) {
        self.on_rejected();
    }

    /// The writer of this opening event is gone: appends what closes it, if that is known.
    fn close_abandoned(
        &mut self,
        _event: &StoredEvent,
        _last_heard: SystemTime,
        _batch: &mut Batch,
    ) {
    }

    /// What learns of events that others made.
    fn observer(&self) -> SharedObserver {
        Arc::new(NoopObserver)
    }

    /// These streams hold no event any more.
    fn on_evicted(&mut self, _keys: &[StreamKey]) {}
}
