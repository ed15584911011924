//! The worker's half of the receiver: it encodes the requests one after another, and answers them when their events
//! are stored. It runs on the worker thread.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    encoder::{EarlierEvent, ReceivedEvents, RequestProgress, SpanEncoder},
    log::batch::Batch,
    otlp::{
        budget::MemoryShare,
        config::OtlpReceiver,
        decode::SpanParts,
        deferred_updates::{DeferredUpdate, DeferredUpdates},
        followed_spans::{FollowedSpan, FollowedSpans},
        mapping::log_fields,
        queue::RequestQueue,
        recent::{RecentEnds, RecentLogs, RepeatedLog},
        request::{Contents, LogPlace, ReceivedRequest, SpanIdPair, StoreResult},
        sender_activity::SenderActivity,
        senders::SharedSenders,
    },
    span::updates::UPDATE_INTERVAL,
    util::{
        sync::{Instant, lock},
        time::Timestamp,
    },
};

/// The batch size in bytes at which the worker stores the batch, even in the middle of a request.
const BATCH_BYTES: usize = 512 * 1024;
/// The task that waits for a request frees it if it has at most this many spans and log records.
/// The worker frees larger ones.
const FREED_BY_TASK_MAX: usize = 1024;

/// The worker's half of the receiver.
#[derive(Debug)]
pub(in crate::otlp) struct OtlpEncoder {
    queue: Arc<RequestQueue>,
    pub(super) senders: SharedSenders,
    /// The activity of each sender, indexed by the sender's number.
    pub(super) activities: Vec<SenderActivity>,
    pub(super) open: FollowedSpans,
    pub(super) recent: RecentEnds,
    recent_logs: RecentLogs,
    /// Whether `recent` and `recent_logs` contain the newest events that an earlier run of the program stored.
    has_read_store: bool,
    pub(super) deferred: DeferredUpdates,
    /// The earlier states of the spans that the unstored batch changes, in the batch's order.
    pub(super) uncommitted: Vec<Before>,
    /// The keys of the log records in the unstored batch.
    uncommitted_logs: Vec<u64>,
    current: Option<Current>,
    /// Requests whose last events are in the unstored batch.
    complete: Vec<Complete>,
}

/// The request that is being encoded.
#[derive(Debug)]
struct Current {
    contents: Contents,
    received: Timestamp,
    stored: oneshot::Sender<StoreResult>,
    /// Whether the store rejected a part of the request.
    has_failed: bool,
    phase: EncodePhase,
    memory: MemoryShare,
}

/// The state of a span before a batch changed it. It is restored if the store rejects the batch.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) key: SpanIdPair,
    pub(super) open: Option<FollowedSpan>,
    /// The hash of the content of the span's end.
    pub(super) ended: Option<u64>,
    /// A deferred update in the batch. Its request has already got a response, so the sender will
    /// not repeat it.
    pub(super) answered: Option<Box<DeferredUpdate>>,
}

#[derive(Debug)]
struct Complete {
    stored: oneshot::Sender<StoreResult>,
    has_failed: bool,
    request: Option<(Contents, MemoryShare)>,
}

/// The next step of a request. All starts come before all ends, so that no trace seems complete too
/// early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EncodePhase {
    Starts(usize),
    /// The number of remaining ends. The places have parents first, so the ends are encoded
    /// backwards: children end before their parents.
    Ends(usize),
    Logs(usize),
    Done,
}

impl OtlpEncoder {
    pub(in crate::otlp) fn new(queue: Arc<RequestQueue>, senders: SharedSenders) -> Self {
        Self {
            queue,
            senders,
            activities: Vec::new(),
            open: FollowedSpans::new(OtlpReceiver::OPEN_SPANS_MAX),
            recent: RecentEnds::new(OtlpReceiver::ENDED_SPANS_MAX),
            recent_logs: RecentLogs::new(OtlpReceiver::LOG_RECORDS_MAX),
            has_read_store: false,
            deferred: DeferredUpdates::default(),
            uncommitted: Vec::new(),
            uncommitted_logs: Vec::new(),
            current: None,
            complete: Vec::new(),
        }
    }

    /// Records a sign of life from the senders of a request.
    fn record_request(&mut self, request: &ReceivedRequest) {
        let now = Instant::now();
        let senders = lock(&self.senders);
        let mut last = None;
        for number in request.contents.senders() {
            if last.replace(number) == Some(number) {
                continue;
            }
            while self.activities.len() <= number {
                let sender = senders.get(self.activities.len());
                let activity = SenderActivity::new(sender, now, request.received);
                self.activities.push(activity);
            }
            if let Some(activity) = self.activities.get_mut(number) {
                activity.record_request(now, request.received);
            }
        }
    }

    /// Copies changes to the state that `/status` reads.
    fn report(&self, contents: &Contents) {
        let mut senders = lock(&self.senders);
        let mut last = None;
        for number in contents.senders() {
            if last.replace(number) == Some(number) {
                continue;
            }
            let activity = self.activities.get(number);
            if let (Some(activity), Some(sender)) = (activity, senders.get_mut(number)) {
                sender.open_spans = activity.open;
                sender.ended_only = activity.reporting.is_ended_only();
                sender.repeated = activity.repeated;
                sender.clock_ahead_millis =
                    u64::try_from(activity.ahead.as_millis()).unwrap_or(u64::MAX);
            }
        }
    }

    /// Records the state of a span before the batch changes it.
    pub(super) fn note_before(&mut self, key: SpanIdPair) {
        self.uncommitted.push(Before {
            key,
            open: self.open.get(&key).cloned(),
            ended: self.recent.content_of(RecentEnds::key_of(&key)),
            answered: None,
        });
    }

    /// Restores the states from before the batch, because the store has rejected it. The senders
    /// repeat its spans.
    fn roll_back(&mut self) {
        let again = Instant::now() + UPDATE_INTERVAL;
        while let Some(before) = self.uncommitted.pop() {
            let opened = self.open.remove(&before.key);
            self.count_open(opened.as_ref(), -1);
            self.count_open(before.open.as_ref(), 1);
            if let Some(mut update) = before.answered.filter(|_| before.open.is_some()) {
                update.due = again;
                self.deferred.insert(&update);
            }
            self.open.restore(before.key, before.open);
            let key = RecentEnds::key_of(&before.key);
            self.recent.set(key, before.ended);
        }
        for key in self.uncommitted_logs.drain(..) {
            self.recent_logs.forget(key);
        }
    }

    fn count_open(&mut self, span: Option<&FollowedSpan>, change: isize) {
        if let Some(activity) = span.and_then(|span| self.activities.get_mut(span.sender)) {
            activity.open = activity.open.saturating_add_signed(change);
        }
    }

    fn log(
        &mut self,
        (contents, place, received): (&Contents, &LogPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        let Some((record, scope)) = contents.log(place) else {
            return;
        };
        let source = self.source(place.sender);
        let fields = log_fields(record, scope, received);
        if let Some(key) = place.key {
            let event = || encoder.received_log_event(source, fields.clone());
            if self.recent_logs.take(key, event) == Err(RepeatedLog) {
                self.count_repetition(place.sender);
                return;
            }
            self.uncommitted_logs.push(key);
        }
        encoder.received_log(source, fields, batch);
    }

    /// Counts a span or a log record that was received before.
    pub(super) fn count_repetition(&mut self, sender: usize) {
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.repeated += 1;
        }
    }

    /// Removes the next request from the queue, and records it as a sign of life of its senders.
    /// The first call also reads the stored events.
    fn begin(&mut self, encoder: &SpanEncoder) -> Option<Current> {
        let request = self.queue.pop()?;
        if !self.has_read_store {
            self.has_read_store = true;
            let (ends, logs) = (&mut self.recent, &mut self.recent_logs);
            encoder.events_before_opening(
                OtlpReceiver::STORED_EVENTS_READ_MAX,
                |event| match event {
                    EarlierEvent::Ended(key, event) => ends.add_stored(&key, event),
                    EarlierEvent::Log(event) => logs.add_stored(event),
                },
            );
        }
        self.record_request(&request);
        Some(Current {
            contents: request.contents,
            received: request.received,
            stored: request.stored,
            has_failed: false,
            phase: EncodePhase::Starts(0),
            memory: request.memory,
        })
    }

    /// Encodes the next item of the request.
    fn step(&mut self, current: &mut Current, encoder: &mut SpanEncoder, batch: &mut Batch) {
        let Current {
            contents,
            received,
            phase,
            ..
        } = current;
        let received = *received;
        let Contents {
            spans,
            places,
            prepared,
            ..
        } = contents;
        // The phase advances before the item is encoded, so that an item that panics is not encoded
        // again.
        match *phase {
            EncodePhase::Starts(next) => {
                *phase = EncodePhase::Starts(next + 1);
                match places.get_mut(next) {
                    None => *phase = EncodePhase::Ends(places.len()),
                    Some(place) => {
                        self.start(place, (spans, prepared, received), encoder, batch);
                    }
                }
            }
            EncodePhase::Ends(0) => *phase = EncodePhase::Logs(0),
            EncodePhase::Ends(left) => {
                *phase = EncodePhase::Ends(left - 1);
                if let Some(place) = places.get(left - 1) {
                    let started = place.prepared.filter(|at| prepared.has_started(*at));
                    match started.filter(|_| self.is_new(place)) {
                        Some(index) => self.end_prepared(place, (index, prepared), encoder, batch),
                        None => {
                            if let Some(span) = spans.view(place.range, SpanParts::All) {
                                self.end((span, place, received), encoder, batch);
                            }
                        }
                    }
                }
            }
            EncodePhase::Logs(next) => {
                *phase = EncodePhase::Logs(next + 1);
                match contents.logs.get(next) {
                    None => *phase = EncodePhase::Done,
                    Some(place) => self.log((contents, place, received), encoder, batch),
                }
            }
            EncodePhase::Done => {}
        }
    }
}

impl ReceivedEvents<SpanEncoder> for OtlpEncoder {
    fn encode_next(&mut self, encoder: &mut SpanEncoder, batch: &mut Batch) -> RequestProgress {
        let Some(mut current) = self.current.take().or_else(|| self.begin(encoder)) else {
            return RequestProgress::Complete;
        };
        while current.phase != EncodePhase::Done {
            if batch.size() >= BATCH_BYTES {
                self.current = Some(current);
                return RequestProgress::BatchFull;
            }
            self.step(&mut current, encoder, batch);
        }
        self.report(&current.contents);
        self.complete.push(Complete {
            stored: current.stored,
            has_failed: current.has_failed,
            request: (current.contents.len() <= FREED_BY_TASK_MAX)
                .then_some((current.contents, current.memory)),
        });
        RequestProgress::Complete
    }

    fn on_committed(&mut self, is_stored: bool) {
        if !is_stored {
            self.roll_back();
            if let Some(current) = &mut self.current {
                current.has_failed = true;
            }
        }
        self.uncommitted.clear();
        self.uncommitted_logs.clear();
        for complete in self.complete.drain(..) {
            // The send fails if the request has stopped waiting.
            let _receiver_gone = complete.stored.send(StoreResult {
                is_stored: is_stored && !complete.has_failed,
                _request: complete.request,
            });
        }
    }

    fn encode_due(&mut self, encoder: &mut SpanEncoder, batch: &mut Batch) {
        let now = Instant::now();
        while batch.size() < BATCH_BYTES
            && let Some(update) = self.deferred.take_due(now)
        {
            self.update_deferred(update, encoder, batch);
        }
        for number in 0..self.activities.len() {
            let Some(activity) = self.activities.get_mut(number) else {
                break;
            };
            if activity.dead_at().is_none_or(|at| at > now) {
                continue;
            }
            activity.died();
            let time = activity.time;
            for key in self.open.take_of(number) {
                encoder.received_lost(key, time, batch);
            }
            if let Some(sender) = lock(&self.senders).get_mut(number) {
                sender.open_spans = 0;
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let dead = self.activities.iter().filter_map(SenderActivity::dead_at);
        dead.chain(self.deferred.next_due()).min()
    }
}
