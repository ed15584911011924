//! Prepares a decoded request for the worker: rejects invalid spans, and sorts the others so that
//! parents come before children. Pure, except that it adds new senders and counts their rejected
//! items. It runs before the request is queued.

use std::hash::{BuildHasher as _, Hash, Hasher};

use opentelemetry_proto::tonic::{
    logs::v1::{LogRecord, ResourceLogs},
    trace::v1::ResourceSpans,
};
use tokio::sync::oneshot;

use crate::{
    encoder::{PreparedIndex, PreparedSpans},
    otlp::{
        budget::MemoryShare,
        config::OtlpReceiver,
        decode::{
            DecodeError, DecodeLimits, Decoded, SpanBytes, SpanRange, SpanView, SpansOfResource,
            TraceRequest, read_spans,
        },
        mapping::{
            attributes as attributes_of, is_empty, is_open, parent_of, partial_spans, real_ids,
            value,
        },
        senders::Senders,
    },
    span::{
        json::{Pairs, Value},
        process::Processes,
    },
    util::{
        hash::{Map, RandomState},
        time::Timestamp,
    },
};

/// The ids of a span.
pub(crate) type SpanIdPair = ([u8; 16], [u8; 8]);

/// A request that waits for the worker.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) contents: Contents,
    pub(crate) received: Timestamp,
    /// Sends whether the store has all events of the request.
    pub(crate) stored: oneshot::Sender<StoreResult>,
    /// The budget's share for `contents`. It is held until they are freed.
    pub(crate) memory: MemoryShare,
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) struct StoreResult {
    /// Whether the store has all events.
    pub(crate) is_stored: bool,
    /// The request, unless it is large. The waiting task frees it, because freeing takes about half
    /// as long as decoding, and all senders wait for the worker.
    pub(crate) _request: Option<(Contents, MemoryShare)>,
}

/// The valid spans and log records of a request.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) spans: SpanBytes,
    /// The valid spans, parents before children.
    pub(crate) places: Vec<SpanPlace>,
    /// The events of ended spans that were encoded before the worker got the request.
    pub(crate) prepared: PreparedSpans,
    resource_logs: Vec<ResourceLogs>,
    pub(crate) logs: Vec<LogPlace>,
}

/// The place of a span in its request, and the properties that the worker needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanPlace {
    pub(crate) range: SpanRange,
    pub(crate) sender: usize,
    pub(crate) key: SpanIdPair,
    pub(crate) parent: Option<[u8; 8]>,
    /// A hash of the span's content, without its ids.
    pub(crate) content: u64,
    pub(crate) is_open: bool,
    /// Whether the span has length zero.
    pub(crate) is_empty: bool,
    /// Whether an earlier place of the request has the same span.
    pub(crate) is_repeated: bool,
    /// The encoded events of the span, if it has ended.
    pub(crate) prepared: Option<PreparedIndex>,
}

#[cfg(test)]
impl SpanPlace {
    pub(super) fn of_key(key: SpanIdPair) -> Self {
        Self {
            range: SpanRange::default(),
            sender: 0,
            key,
            parent: None,
            content: 0,
            is_open: true,
            is_empty: false,
            is_repeated: false,
            prepared: None,
        }
    }
}

/// The place of a log record in its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPlace {
    resource: usize,
    scope: usize,
    record: usize,
    pub(crate) sender: usize,
    /// A key that is equal for the record and for its copy in a repeated request; `None` if the
    /// record has no time.
    pub(crate) key: Option<u64>,
}

/// The number of rejected items of a request, and the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    /// The reason for the first rejection.
    pub(crate) reason: String,
}

const TOO_MANY_SENDERS: &str = "too many processes and services have sent spans";

impl Rejected {
    fn add(&mut self, reason: &str) {
        self.count += 1;
        if self.reason.is_empty() {
            reason.clone_into(&mut self.reason);
        }
    }
}

impl Contents {
    pub(crate) fn log(
        &self,
        place: &LogPlace,
    ) -> Option<(
        &LogRecord,
        Option<&opentelemetry_proto::tonic::common::v1::InstrumentationScope>,
    )> {
        let scope_logs = self
            .resource_logs
            .get(place.resource)?
            .scope_logs
            .get(place.scope)?;
        let record = scope_logs.log_records.get(place.record)?;
        Some((record, scope_logs.scope.as_ref()))
    }

    /// Frees the encoded events.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared = PreparedSpans::default();
        for place in &mut self.places {
            place.prepared = None;
        }
    }

    /// Returns the number of spans and log records.
    pub(crate) fn len(&self) -> usize {
        self.places.len() + self.logs.len()
    }

    /// Returns the senders of the spans and of the log records. A sender with several of them may
    /// occur several times.
    pub(crate) fn senders(&self) -> impl Iterator<Item = usize> {
        let spans = self.places.iter().map(|place| place.sender);
        spans.chain(self.logs.iter().map(|place| place.sender))
    }

    /// Prepares a decoded request. Registers its senders in `senders`.
    pub(crate) fn of(
        decoded: Decoded<TraceRequest<SpanDigest>>,
        (senders, processes): (&mut Senders, &Processes),
        received: Timestamp,
    ) -> (Self, Rejected) {
        let mut contents = Self::default();
        let mut rejected = Rejected::default();
        match decoded {
            Decoded::Metrics => {}
            Decoded::Traces(request) => {
                contents.place_spans(request, (senders, processes), received, &mut rejected);
            }
            Decoded::Logs(resource_logs) => {
                contents.resource_logs = resource_logs;
                contents.place_logs((senders, processes), received, &mut rejected);
            }
        }
        (contents, rejected)
    }

    /// Adds the spans of a request.
    fn place_spans(
        &mut self,
        request: TraceRequest<SpanDigest>,
        (senders, processes): (&mut Senders, &Processes),
        received: Timestamp,
        rejected: &mut Rejected,
    ) {
        let count = request.resources.iter().map(|one| one.spans.len()).sum();
        let mut by_key = Map::with_capacity_and_hasher(count, RandomState::default());
        let mut places = Vec::with_capacity(count);
        for SpansOfResource { resource, spans } in request.resources {
            let sender = senders.find(resource.as_ref(), processes, received);
            let mut count = 0;
            for (range, digest) in spans {
                let (Ok(key), Some(sender)) = (digest.key, sender) else {
                    let reason = digest.key.err().unwrap_or(TOO_MANY_SENDERS);
                    rejected.add(reason);
                    if let Some(sender) = sender.and_then(|sender| senders.get_mut(sender)) {
                        sender.rejected(reason);
                    }
                    continue;
                };
                count += 1;
                let at = places.len();
                let first_at = *by_key.entry(key).or_insert(at);
                places.push(SpanPlace {
                    range,
                    sender,
                    key,
                    parent: digest.parent,
                    content: digest.content,
                    is_open: digest.is_open,
                    is_empty: digest.is_empty,
                    is_repeated: first_at < at,
                    prepared: None,
                });
            }
            if let Some(sender) = sender.and_then(|sender| senders.get_mut(sender)) {
                sender.record_request(received, count, 0);
            }
        }
        self.spans = request.spans;
        self.places = parents_first(places, &by_key);
    }

    /// Adds the open spans of heartbeats.
    fn place_heartbeats(
        &mut self,
        spans: Vec<ResourceSpans>,
        (senders, processes): (&mut Senders, &Processes),
        received: Timestamp,
        rejected: &mut Rejected,
    ) {
        let limits = DecodeLimits {
            items_max: usize::MAX,
            memory_bytes_max: OtlpReceiver::REQUEST_BYTES_MAX,
        };
        let open = |span: &SpanView<'_>| SpanDigest {
            is_open: true,
            ..SpanDigest::of(span)
        };
        match read_spans(spans, limits, open) {
            Ok(request) => self.place_spans(request, (senders, processes), received, rejected),
            Err(DecodeError::Malformed(why) | DecodeError::TooLarge(why)) => rejected.add(&why),
        }
    }

    fn place_logs(
        &mut self,
        (senders, processes): (&mut Senders, &Processes),
        received: Timestamp,
        rejected: &mut Rejected,
    ) {
        let mut partial = Vec::new();
        let mut hash = STATE.build_hasher();
        for (resource, one) in self.resource_logs.iter().enumerate() {
            let records = one.scope_logs.iter().map(|scope| scope.log_records.len());
            let count = records.sum::<usize>();
            if count == 0 {
                continue;
            }
            let sender = senders.find(one.resource.as_ref(), processes, received);
            let Some(sender) = sender else {
                (0..count).for_each(|_| rejected.add(TOO_MANY_SENDERS));
                continue;
            };
            for (scope, scope_logs) in one.scope_logs.iter().enumerate() {
                for (record, log) in scope_logs.log_records.iter().enumerate() {
                    if let Some(mut data) = partial_spans(log) {
                        for spans in &mut data.resource_spans {
                            spans
                                .resource
                                .get_or_insert_with(|| one.resource.clone().unwrap_or_default());
                        }
                        partial.append(&mut data.resource_spans);
                        continue;
                    }
                    let has_time = log.time_unix_nano != 0 || log.observed_time_unix_nano != 0;
                    self.logs.push(LogPlace {
                        resource,
                        scope,
                        record,
                        sender,
                        key: has_time.then_some(0),
                    });
                    let scope = scope_logs.scope.as_ref();
                    (sender, scope.map(|scope| &scope.name)).hash(&mut hash);
                    hash_log(log, &mut hash);
                }
            }
            if let Some(sender) = senders.get_mut(sender) {
                sender.record_request(received, 0, count as u64);
            }
        }
        let request = hash.finish();
        for (number, place) in self.logs.iter_mut().enumerate() {
            place.key = place.key.map(|_| hash_of((request, number)));
        }
        if !partial.is_empty() {
            self.place_heartbeats(partial, (senders, processes), received, rejected);
        }
    }
}

/// The properties of a span that are known before it has a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanDigest {
    key: Result<SpanIdPair, &'static str>,
    parent: Option<[u8; 8]>,
    content: u64,
    is_open: bool,
    is_empty: bool,
}

impl SpanDigest {
    pub(crate) fn of(span: &SpanView<'_>) -> Self {
        Self {
            key: check(span),
            parent: parent_of(span),
            content: content_of(span),
            is_open: is_open(span),
            is_empty: is_empty(span),
        }
    }
}

/// Returns the ids of the span, or the reason why it is invalid.
pub(crate) fn check(span: &SpanView<'_>) -> Result<SpanIdPair, &'static str> {
    if let Some(key) = real_ids(span) {
        return match span.parent_span_id.len() {
            0 | 8 => Ok(key),
            _ => Err("a parent span id is not 8 bytes long"),
        };
    }
    Err(match (span.trace_id.len(), span.span_id.len()) {
        (16, 8) if span.trace_id.iter().all(|byte| *byte == 0) => "a trace id is all zeros",
        (16, 8) if span.span_id.iter().all(|byte| *byte == 0) => "a span id is all zeros",
        (16, 8) => "a pending span names no span",
        (16, _) => "a span id is not 8 bytes long",
        _ => "a trace id is not 16 bytes long",
    })
}

/// Sorts parents before children, and otherwise keeps the given order. `by_key` maps each span to
/// its first place.
fn parents_first(places: Vec<SpanPlace>, by_key: &Map<SpanIdPair, usize>) -> Vec<SpanPlace> {
    let parent_at = |place: &SpanPlace| {
        let (trace_id, _) = place.key;
        by_key.get(&(trace_id, place.parent?)).copied()
    };
    let parents: Vec<Option<usize>> = places.iter().map(parent_at).collect();
    let mut order = parents.iter().enumerate();
    if order.all(|(at, parent)| parent.is_none_or(|parent| parent < at)) {
        return places;
    }
    let mut is_placed = vec![false; places.len()];
    let mut order = Vec::with_capacity(places.len());
    let mut ancestors = Vec::new();
    for first in 0..places.len() {
        let mut next = Some(first);
        while let Some(at) = next {
            // This also ends a cycle of parents.
            if is_placed
                .get_mut(at)
                .is_none_or(|is| std::mem::replace(is, true))
            {
                break;
            }
            ancestors.push(at);
            next = parents.get(at).copied().flatten();
        }
        let nearest_last = ancestors.drain(..).rev();
        order.extend(nearest_last.filter_map(|at| places.get(at).copied()));
    }
    order
}

static STATE: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::default);

/// Returns a hash of the span's content, without its ids.
fn content_of(span: &SpanView<'_>) -> u64 {
    let mut hash = STATE.build_hasher();
    let SpanView {
        bytes: _,
        scope: _,
        scope_version: _,
        trace_id: _,
        span_id: _,
        trace_state,
        parent_span_id,
        flags,
        name,
        kind,
        start_nanos,
        end_nanos,
        attributes,
        dropped_attributes,
        events,
        dropped_events,
        links,
        dropped_links,
        status,
    } = span;
    (trace_state, parent_span_id, flags, name, kind).hash(&mut hash);
    (start_nanos, end_nanos).hash(&mut hash);
    (dropped_attributes, dropped_events, dropped_links).hash(&mut hash);
    hash_pairs(attributes, &mut hash);
    for event in events {
        (event.time, &event.name).hash(&mut hash);
        hash_pairs(&event.attributes, &mut hash);
    }
    for link in links {
        (link.trace_id, link.span_id).hash(&mut hash);
        hash_pairs(&link.attributes, &mut hash);
    }
    status.hash(&mut hash);
    hash.finish()
}

/// Hashes the whole content of a log record.
fn hash_log(record: &LogRecord, hash: &mut impl Hasher) {
    let LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        severity_number,
        severity_text,
        body,
        attributes,
        dropped_attributes_count,
        flags,
        trace_id,
        span_id,
        event_name,
    } = record;
    (time_unix_nano, observed_time_unix_nano).hash(hash);
    (severity_number, severity_text, event_name).hash(hash);
    body.is_some().hash(hash);
    if let Some(body) = body {
        hash_value(&value(body, 0), hash);
    }
    hash_pairs(&attributes_of(attributes), hash);
    (dropped_attributes_count, flags, trace_id, span_id).hash(hash);
}

/// Returns a hash of any value.
pub(crate) fn hash_of(value: impl Hash) -> u64 {
    STATE.hash_one(value)
}

/// Returns a hash of an attribute's value.
pub(crate) fn hash_of_value(value: &Value<'_>) -> u64 {
    let mut hash = STATE.build_hasher();
    hash_value(value, &mut hash);
    hash.finish()
}

fn hash_pairs(pairs: &Pairs<'_>, hash: &mut impl Hasher) {
    pairs.len().hash(hash);
    for (key, value) in pairs {
        key.hash(hash);
        hash_value(value, hash);
    }
}

fn hash_value(value: &Value<'_>, hash: &mut impl Hasher) {
    std::mem::discriminant(value).hash(hash);
    match value {
        Value::Null => {}
        Value::Text(text) => text.hash(hash),
        Value::Owned(text) => text.hash(hash),
        Value::Bool(value) => value.hash(hash),
        Value::Int(value) => value.hash(hash),
        Value::Double(value) => value.to_bits().hash(hash),
        Value::Bytes(bytes) => bytes.hash(hash),
        Value::Array(values, _) => {
            values.len().hash(hash);
            for value in values {
                hash_value(value, hash);
            }
        }
        Value::Map(pairs, _) => hash_pairs(pairs, hash),
    }
}
