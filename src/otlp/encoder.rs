//! Turns requests into events. It decides whether a span starts, changes or ends, by the span's
//! earlier events. The documentation of [`otlp`](crate::otlp) lists the forms of open spans. It
//! runs on the worker thread.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    encoder::{
        EarlierEvent, PreparedEnd, PreparedEnds, ReceivedEvents, RequestProgress, SpanEncoder,
    },
    log::batch::Batch,
    otlp::{
        budget::MemoryShare,
        config::OtlpReceiver,
        decode::{SpanBytes, SpanParts, SpanView},
        deferred_updates::{DeferredUpdate, DeferredUpdates},
        followed_spans::{FollowedSpan, FollowedSpans, first_changes},
        mapping::{bare_start, end_fields, fields_of, implausible, log_fields},
        queue::RequestQueue,
        recent::{KnownEnd, RecentEnds, RecentLogs, RepeatedLog, event_hash},
        request::{Contents, LogPlace, ReceivedRequest, SpanIdPair, SpanPlace, StoreResult},
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
pub(crate) struct OtlpEncoder {
    queue: Arc<RequestQueue>,
    senders: SharedSenders,
    /// The activity of each sender, by its number.
    activities: Vec<SenderActivity>,
    open: FollowedSpans,
    recent: RecentEnds,
    recent_logs: RecentLogs,
    /// Whether `recent` and `recent_logs` contain the events that an earlier run of the program
    /// stored.
    has_read_store: bool,
    deferred: DeferredUpdates,
    /// The earlier states of the spans that the unstored batch changes, in the batch's order.
    uncommitted: Vec<Before>,
    /// The keys of the log records in the unstored batch.
    uncommitted_logs: Vec<u64>,
    current: Option<Current>,
    /// The empty buffer for the ends of the next request.
    prepared: PreparedEnds,
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
    /// The ends that were encoded together with their starts.
    prepared: PreparedEnds,
    memory: MemoryShare,
}

/// The state of a span before a batch changed it. It is restored if the store rejects the batch.
#[derive(Debug)]
struct Before {
    key: SpanIdPair,
    open: Option<FollowedSpan>,
    /// The content of the span's end.
    ended: Option<u64>,
    /// A deferred update in the batch. Its request has already got a response, so the sender will
    /// not repeat it.
    answered: Option<Box<DeferredUpdate>>,
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
    pub(crate) fn new(queue: Arc<RequestQueue>, senders: SharedSenders) -> Self {
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
            prepared: PreparedEnds::default(),
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

    fn source(&self, sender: usize) -> u32 {
        self.activities
            .get(sender)
            .map_or(u32::MAX, |activity| activity.source)
    }

    /// Returns whether the span is open. A span of length zero from .NET counts as open, unless its
    /// sender is known to send only ended spans.
    fn is_open(&self, place: &SpanPlace) -> bool {
        let activity = self.activities.get(place.sender);
        place.is_open
            || place.is_empty
                && activity.is_some_and(|activity| activity.reporting.sends_open_as_empty())
    }

    /// Encodes the start of a span. If the span has ended, and there is room for its end, encodes
    /// its end, too.
    fn start(
        &mut self,
        (place, number): (&SpanPlace, usize),
        (spans, prepared, received): (&SpanBytes, &mut PreparedEnds, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        let is_open = self.is_open(place);
        if self.open.contains(&place.key) {
            if is_open && let Some(span) = spans.view(place.range, SpanParts::All) {
                self.resent((&span, place, received), encoder, batch);
            }
            return;
        }
        // Skips an open span that this request repeats, because it is already followed. Also skips
        // a span with a known end: it is a repetition, a correction, or a late start.
        if place.is_repeated || self.recent.get(RecentEnds::key_of(&place.key)).is_some() {
            return;
        }
        let source = self.source(place.sender);
        let needs_all = is_open || prepared.has_room();
        let parts = if needs_all {
            SpanParts::All
        } else {
            SpanParts::Head
        };
        let Some(mut span) = spans.view(place.range, parts) else {
            return;
        };
        let time = Timestamp::from_nanos(span.start_nanos);
        if is_open {
            self.open((&span, place, received), (source, time), encoder, batch);
        } else if needs_all {
            let end = end_fields(&mut span);
            let mut fields = fields_of(span, place.key, place.parent);
            fields.received = self.receipt(place.sender, end.end, received);
            encoder.received_whole((source, number), fields, end, (batch, prepared));
        } else {
            let fields = bare_start(&span, place.key, place.parent);
            encoder.received_start((source, time), fields, batch);
        }
    }

    /// Encodes the start of an open span, and follows the span. If too many spans are followed,
    /// only counts it.
    fn open(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        (source, time): (u32, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if self.open.is_full() {
            lock(&self.senders).open_spans_not_followed += 1;
            return;
        }
        self.note_before(place.key);
        let mut fields = fields_of(span.clone(), place.key, place.parent);
        fields.received = self.receipt(place.sender, time, received);
        encoder.received_start((source, time), fields, batch);
        if let Some((fields, changes)) = first_changes(span, &place.key, received) {
            encoder.received_update((source, received), fields, changes, batch);
        }
        self.open.insert(span, place, Instant::now());
        if let Some(activity) = self.activities.get_mut(place.sender) {
            activity.opened();
        }
    }

    /// Handles an open span that was sent again: counts it as a sign of life, and emits its changes.
    fn resent(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        let now = Instant::now();
        let Some(open) = self.open.get_mut(&place.key) else {
            return;
        };
        let gap = now.saturating_duration_since(open.sent_at);
        open.sent_at = now;
        let (sender, due) = (open.sender, open.reported_at + UPDATE_INTERVAL);
        let mut place = *place;
        place.sender = sender;
        let has_changed = open.content != place.content;
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.resent(gap);
        }
        // A deferred update is older than this one.
        self.deferred.remove(&place.key);
        if !has_changed {
            return;
        }
        let is_deferred = due > now
            && self.deferred.insert(&DeferredUpdate {
                span: span.bytes.into(),
                place,
                received,
                due,
            });
        if !is_deferred {
            self.note_before(place.key);
            self.update((span, &place, received), encoder, batch);
        }
    }

    /// Emits the changes of an open span.
    fn update(
        &mut self,
        (span, place, received): (&SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if let Some((fields, changes)) = self.open.changes(span, place, received) {
            let source = self.source(place.sender);
            encoder.received_update((source, received), fields, changes, batch);
            self.open.insert(span, place, Instant::now());
        }
    }

    /// Emits a deferred update.
    fn update_deferred(
        &mut self,
        update: DeferredUpdate,
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        self.note_before(update.place.key);
        if let Some(span) = SpanView::again(&update.span, SpanParts::All) {
            self.update((&span, &update.place, update.received), encoder, batch);
        }
        if let Some(before) = self.uncommitted.last_mut() {
            before.answered = Some(Box::new(update));
        }
    }

    /// Returns the time of receipt if the event's own time is implausible.
    fn receipt(
        &mut self,
        sender: usize,
        time: Timestamp,
        received: Timestamp,
    ) -> Option<Timestamp> {
        let (received, ahead) = implausible(time, received)?;
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.ahead = activity.ahead.max(ahead);
        }
        Some(received)
    }

    /// Records the state of a span before the batch changes it.
    fn note_before(&mut self, key: SpanIdPair) {
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

    fn end(
        &mut self,
        (mut span, place, received): (SpanView<'_>, &SpanPlace, Timestamp),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        if self.is_open(place) {
            return;
        }
        let key = RecentEnds::key_of(&place.key);
        let known = self.recent.get(key);
        let is_repetition = match known {
            None => false,
            Some(KnownEnd::Content(content)) => content == place.content,
            Some(KnownEnd::Stored(hash)) => {
                let source = self.source(place.sender);
                let end = end_fields(&mut span.clone());
                let fields = fields_of(span.clone(), place.key, place.parent);
                let event = encoder.received_end_event(source, fields, end);
                event.is_some_and(|event| event_hash(&event) == hash)
            }
        };
        if is_repetition {
            self.count_repetition(place.sender);
            return;
        }
        if let Some(update) = self.deferred.remove(&place.key) {
            // The last value is emitted before the end.
            self.update_deferred(update, encoder, batch);
        }
        let open = self.open.remove(&place.key);
        let was_open = open.is_some();
        let sender = open.as_ref().map_or(place.sender, |open| open.sender);
        self.uncommitted.push(Before {
            key: place.key,
            open,
            ended: self.recent.content_of(key),
            answered: None,
        });
        let source = self.source(sender);
        let end = end_fields(&mut span);
        let length = span.end_nanos - span.start_nanos;
        let mut fields = fields_of(span, place.key, place.parent);
        fields.received = self.receipt(sender, end.end, received);
        if known.is_some() {
            encoder.received_correction(source, fields, end, batch);
        } else {
            encoder.received_end(source, fields, end, batch);
        }
        self.recent.set(key, Some(place.content));
        if let Some(activity) = self.activities.get_mut(sender) {
            activity.ended(was_open, Duration::from_nanos(length));
        }
    }

    /// Returns whether no event of the span is known, except the start of this request.
    fn is_new(&self, place: &SpanPlace) -> bool {
        let key = RecentEnds::key_of(&place.key);
        self.recent.get(key).is_none() && !self.open.contains(&place.key)
    }

    /// Appends an end that was encoded with its start.
    fn end_prepared(
        &mut self,
        place: &SpanPlace,
        (end, prepared): (PreparedEnd, &PreparedEnds),
        encoder: &mut SpanEncoder,
        batch: &mut Batch,
    ) {
        self.uncommitted.push(Before {
            key: place.key,
            open: None,
            ended: None,
            answered: None,
        });
        let length = end.length();
        encoder.received_prepared(self.source(place.sender), end, prepared, batch);
        let key = RecentEnds::key_of(&place.key);
        self.recent.set(key, Some(place.content));
        if let Some(activity) = self.activities.get_mut(place.sender) {
            activity.ended(false, length);
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
    fn count_repetition(&mut self, sender: usize) {
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
            prepared: std::mem::take(&mut self.prepared),
            memory: request.memory,
        })
    }

    /// Encodes the next item of the request.
    fn step(&mut self, current: &mut Current, encoder: &mut SpanEncoder, batch: &mut Batch) {
        let Current {
            contents,
            received,
            phase,
            prepared,
            ..
        } = current;
        let received = *received;
        // The phase advances before the item is encoded, so that an item that panics is not encoded
        // again.
        match *phase {
            EncodePhase::Starts(next) => {
                *phase = EncodePhase::Starts(next + 1);
                match contents.places.get(next) {
                    None => *phase = EncodePhase::Ends(contents.places.len()),
                    Some(place) => {
                        let request = (&contents.spans, prepared, received);
                        self.start((place, next), request, encoder, batch);
                    }
                }
            }
            EncodePhase::Ends(0) => *phase = EncodePhase::Logs(0),
            EncodePhase::Ends(left) => {
                *phase = EncodePhase::Ends(left - 1);
                if let Some(place) = contents.places.get(left - 1) {
                    match prepared.take(left - 1).filter(|_| self.is_new(place)) {
                        Some(end) => self.end_prepared(place, (end, prepared), encoder, batch),
                        None => {
                            if let Some(span) = contents.spans.view(place.range, SpanParts::All) {
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
        current.prepared.clear();
        self.prepared = current.prepared;
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
