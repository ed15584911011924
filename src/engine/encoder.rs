//! The interface between the engine and the layer above. [`RecordEncoder`] turns records into events; the worker thread
//! calls it. [`LogObserver`] is informed of events that this log did not write. Nothing here depends on spans.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use crate::{
    log::{
        batch::{Batch, StoredEvent},
        event::StreamKey,
        retention::EvictedEvents,
        tail::Evictions,
    },
    store::validated::PayloadFormat,
    util::sync::Instant,
};

/// Observes events that this log did not write, as the store returns them. The worker thread and the follower threads
/// call it; calls of [`observe`](Self::observe) never overlap.
pub(crate) trait LogObserver: Send + Sync {
    /// Observes events, in the order of the log.
    fn observe(&self, events: &[StoredEvent]);

    /// Returns at most `limit` known streams that began before the event `before` and have an open span.
    fn open_streams(&self, before: u64, limit: usize) -> Vec<StreamKey>;

    /// Returns at most `limit` of the known streams, oldest first.
    fn oldest_streams(&self, _limit: usize) -> Vec<StreamKey> {
        Vec::new()
    }

    /// Records how many events retention has removed from each of these streams.
    fn observe_evicted(&self, _evicted: &[(StreamKey, EvictedEvents)]) {}

    /// Begins a rebuild beside the current state. The rebuild gets all events of the streams that begin with the event
    /// `from` or later, and some events of older streams.
    fn begin_rebuild(&self, from: u64, writers: Writers) -> Box<dyn IndexRebuild>;
}

/// The processes that write to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Only this process, from now on. Of the spans that earlier processes left open, only durable ones still run.
    Own,
    /// This process and others.
    Several,
}

pub(crate) type SharedObserver = Arc<dyn LogObserver>;

/// A rebuild in progress.
pub(crate) trait IndexRebuild {
    /// Observes events. The events of each stream must be in the order of the log.
    fn observe(&mut self, events: &[StoredEvent]);

    /// Called when the rebuild skips the stream's events between those observed and those in memory. Spans that are
    /// open now may have ended in the skipped part.
    fn leave_out_rest(&mut self, stream: &StreamKey);

    /// Replaces the current state with the rebuilt one.
    fn commit(self: Box<Self>);
}

/// Ignores all events.
struct NoopObserver;

impl LogObserver for NoopObserver {
    fn observe(&self, _events: &[StoredEvent]) {}

    fn open_streams(&self, _before: u64, _limit: usize) -> Vec<StreamKey> {
        Vec::new()
    }

    fn begin_rebuild(&self, _from: u64, _writers: Writers) -> Box<dyn IndexRebuild> {
        Box::new(Self)
    }
}

impl IndexRebuild for NoopObserver {
    fn observe(&mut self, _events: &[StoredEvent]) {}

    fn leave_out_rest(&mut self, _stream: &StreamKey) {}

    fn commit(self: Box<Self>) {}
}

/// Turns records into events. Runs on the worker thread only. In each *turn*, the worker takes the records that are in
/// the buffer, encodes them and stores the events.
pub(crate) trait RecordEncoder: Send + 'static {
    /// The format of the payloads of its events. A stored event in another format is damaged.
    const PAYLOAD_FORMAT: PayloadFormat = PayloadFormat::TEXT;

    /// Gets every internal record of a turn before any record of the turn is encoded.
    fn on_hint(&mut self, _record: &[u8]) {}

    /// Returns whether all events before the record must be stored before it is encoded.
    fn needs_commit_before(&self, _record: &[u8]) -> bool {
        false
    }

    /// Called for a pre-encoded event, that is, one that the caller of the log encoded. `_position` is its index in the
    /// batch. Returns the payload that the batch gets: `payload` with its values redacted.
    fn read_pre_encoded<'a>(&mut self, _position: usize, payload: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(payload)
    }

    /// Called for a pre-encoded event that was redacted before. `_position` is its index in the batch.
    fn on_pre_encoded(&mut self, _position: usize, _payload: &[u8]) {}

    /// Appends the events of the record.
    fn encode(&mut self, record: &[u8], batch: &mut Batch);

    /// Returns whether the last record has further events. The worker first stores the events appended so far.
    fn has_more(&self) -> bool {
        false
    }

    /// Appends further events of the last record.
    fn encode_more(&mut self, _batch: &mut Batch) {}

    /// Called when everything encoded so far is stored or refused. Appends events that had to wait for that.
    fn on_committed(&mut self, _batch: &mut Batch) {}

    /// Called at the beginning of a turn, before the worker decides which record is the turn's last. Collects changes
    /// of open spans, which wait outside the buffer. The turn then includes all records that were pushed before this
    /// call.
    fn before_drain(&mut self) {}

    /// Called when all records of a turn are stored or refused. Appends the events of the changes that
    /// [`before_drain`](Self::before_drain) collected, and events that are due.
    fn after_drain(&mut self, _batch: &mut Batch) {}

    /// Returns whether changes wait outside the buffer. If so, the worker waits only briefly before its next turn.
    fn has_changes(&self) -> bool {
        false
    }

    /// Returns when to call [`after_drain`](Self::after_drain) next, even if nothing happens.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// Called with the ascending indexes of events that the store already has. These events get no sequence and are
    /// removed from the batch.
    fn on_duplicates(&mut self, _positions: &[usize]) {}

    /// Called when the batch (all events encoded since the last call) is stored, but not yet visible. Its first event
    /// has the sequence `first`.
    fn on_stored(&mut self, _first: u64) {}

    /// Called when the follower thread has already indexed this batch from the store: discards the pending changes.
    fn on_already_observed(&mut self) {}

    /// Called when the store refused the batch (all events encoded since the last call).
    fn on_rejected(&mut self) {}

    /// Called when the store works again. Appends the events that must precede all later stored events.
    fn on_store_recovered(&mut self, _batch: &mut Batch) {}

    /// Called when the store refused the batch or is late, but current readers get the batch. Its first event has the
    /// sequence `first`.
    fn on_unstored(&mut self, _first: u64) {
        self.on_rejected();
    }

    /// Called for an opening event whose writer is gone. Appends the closing event, if it can be derived.
    fn close_abandoned(
        &mut self,
        _event: &StoredEvent,
        _last_heard: SystemTime,
        _batch: &mut Batch,
    ) {
    }

    /// Returns the observer of events that other processes append.
    fn observer(&self) -> SharedObserver {
        Arc::new(NoopObserver)
    }

    /// Returns whether the encoder waits for an answer of the store. If so, the worker calls it again soon, even if
    /// nothing happens.
    fn awaits_store(&self) -> bool {
        false
    }

    /// Called after each publication and before the worker sleeps, with the streams from which retention has removed
    /// events since the last call. There may be none.
    fn on_evicted(&mut self, _evictions: &Evictions) {}
}
