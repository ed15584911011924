//! Batches of encoded events. A batch holds names, stream keys, pins (how retention treats an event), deduplication
//! flags and payload bytes. The worker thread writes a batch, and hands it to a store, which numbers its events, and to
//! the tail in memory. No store may parse a payload.

use bytes::Bytes;
use memchr::memchr2;

use crate::{
    log::event::{Pinning, StreamKey},
    wire::id::Sequence,
};

/// Encoded events in the order in which the log will number them.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<BatchEntry>,
    /// The names. Only the last [`NAMES_MAX`] are searched, so an older name may be added again.
    names: Vec<Box<str>>,
    /// The keys of the streams; consecutive events of one stream share an entry.
    keys: Vec<StreamKey>,
}

/// Upper bound on the recent names that are searched for a repetition, and that are kept for the next batch.
const NAMES_MAX: usize = 16;

#[derive(Debug)]
struct BatchEntry {
    pin: Pinning,
    end: usize,
    /// Index into the names.
    name: u32,
    /// Index into the keys, plus 1; 0 if the event belongs to every stream.
    key: u32,
    once: bool,
    /// Whether the payload is known to contain no line break.
    line: bool,
}

/// One event in a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord<'a> {
    name: &'a str,
    key: Option<&'a StreamKey>,
    pin: Pinning,
    once: bool,
    line: bool,
    payload: &'a [u8],
}

impl<'a> BatchRecord<'a> {
    /// Returns the SSE event name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the stream, or `None` for an event that belongs to every stream.
    pub fn stream_key(&self) -> Option<&'a StreamKey> {
        self.key
    }

    /// Returns how retention treats the event.
    pub fn pin(&self) -> Pinning {
        self.pin
    }

    /// Returns whether the log keeps the event only once. An event that [opens](Pinning::Open) a token of its stream is
    /// left out while the stream keeps another deduplicated event that opens or closes that token. An event that
    /// [closes](Pinning::Close) a token is left out while the stream keeps another such event that closes it.
    /// Without a stream or a token, an event is never deduplicated.
    ///
    /// So a replay, by this process or another, adds nothing: the log keeps the first start and the first end.
    pub fn is_deduplicated(&self) -> bool {
        self.once && self.key.is_some() && matches!(self.pin, Pinning::Open(_) | Pinning::Close(_))
    }

    /// Returns whether the payload is known to contain no line break.
    pub(crate) fn is_line(&self) -> bool {
        self.line
    }

    /// Returns the payload as it was encoded.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl Batch {
    /// Returns how many events the batch holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the batch holds no event.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the events in log order.
    pub fn iter(&self) -> impl Iterator<Item = BatchRecord<'_>> + Clone {
        let mut start = 0;
        self.entries.iter().map(move |head| {
            let payload = self.bytes.get(start..head.end).unwrap_or_default();
            start = head.end;
            BatchRecord {
                name: self.names.get(head.name as usize).map_or("", |name| name),
                key: self.keys.get((head.key as usize).wrapping_sub(1)),
                pin: head.pin,
                once: head.once,
                line: head.line,
                payload,
            }
        })
    }

    /// Returns the events as a store would return them after numbering them from `first` on.
    pub(crate) fn stored_as(&self, first: u64) -> impl Iterator<Item = StoredEvent> {
        self.iter()
            .zip(first..)
            .map(|(record, sequence)| StoredEvent {
                sequence: Sequence::new(sequence),
                name: record.name.to_owned(),
                key: record.key.copied(),
                pin: record.pin,
                payload: Bytes::copy_from_slice(record.payload),
            })
    }

    /// Appends an event that the log keeps [only once](BatchRecord::is_deduplicated). It is meant for tests of a store.
    pub fn add_deduplicated(&mut self, name: &str, key: StreamKey, pin: Pinning, payload: &[u8]) {
        self.add(name, Some(key), pin, payload);
        self.mark_deduplicated();
    }

    /// Appends an event. It is meant for tests and benchmarks of a store; the log makes its own batches.
    pub fn add(&mut self, name: &str, key: Option<StreamKey>, pin: Pinning, payload: &[u8]) {
        self.push(name, key, pin, |out| out.extend_from_slice(payload));
    }

    /// Returns the payload of the last event, or nothing if the batch is empty.
    pub(crate) fn last_payload(&self) -> &[u8] {
        let before = self.entries.len().checked_sub(2);
        let start = before
            .and_then(|at| self.entries.get(at))
            .map_or(0, |head| head.end);
        self.bytes.get(start..).unwrap_or_default()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.keys.clear();
        if self.names.len() > NAMES_MAX {
            self.names.clear();
        }
    }

    /// Appends one event. `write` appends the event's payload to the buffer, and must not change the bytes before it.
    pub(crate) fn push(
        &mut self,
        name: &str,
        key: Option<StreamKey>,
        pin: Pinning,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = key.map_or(0, |key| self.place_of_key(key));
        self.push_at(name, key, pin, write);
    }

    /// Like `push`, for an event of a trace whose payload has no line breaks. The payload is not searched for them.
    #[inline]
    pub(crate) fn push_line(
        &mut self,
        name: &str,
        trace_id: [u8; 16],
        pin: Pinning,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        // A key is large, so a new one is made only if the trace differs from that of the previous event.
        if !self.keys.last().is_some_and(|last| last.is_id(trace_id)) {
            self.keys.push(StreamKey::of_id(trace_id));
        }
        self.push_at(name, self.keys_end(), pin, write);
        if let Some(head) = self.entries.last_mut() {
            head.line = true;
        }
        debug_assert_eq!(memchr2(b'\n', b'\r', self.last_payload()), None);
    }

    #[inline]
    fn push_at(&mut self, name: &str, key: u32, pin: Pinning, write: impl FnOnce(&mut Vec<u8>)) {
        let name = u32::try_from(self.place_of(name)).unwrap_or(u32::MAX);
        write(&mut self.bytes);
        self.entries.push(BatchEntry {
            pin,
            end: self.bytes.len(),
            name,
            key,
            once: false,
            line: false,
        });
    }

    /// Returns the index of a stream's key, plus 1, and adds the key if needed.
    fn place_of_key(&mut self, key: StreamKey) -> u32 {
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
        self.keys_end()
    }

    fn keys_end(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    /// Returns the index of a name, and adds the name if needed.
    fn place_of(&mut self, name: &str) -> usize {
        let from = self.names.len().saturating_sub(NAMES_MAX);
        let last = self.names.get(from..).unwrap_or_default();
        if let Some(at) = last.iter().position(|one| **one == *name) {
            return from + at;
        }
        self.names.push(name.into());
        self.names.len() - 1
    }

    /// Marks the last event as deduplicated: see [`BatchRecord::is_deduplicated`].
    pub(crate) fn mark_deduplicated(&mut self) {
        if let Some(head) = self.entries.last_mut() {
            head.once = true;
        }
    }

    /// Returns a copy of the batch without the events at these ascending indexes.
    pub(crate) fn without(&self, positions: &[usize]) -> Self {
        let mut batch = Self::default();
        for (position, record) in self.iter().enumerate() {
            if positions.binary_search(&position).is_err() {
                batch.push(record.name, record.key.copied(), record.pin, |out| {
                    out.extend_from_slice(record.payload);
                });
                if let Some(head) = batch.entries.last_mut() {
                    head.once = record.once;
                    head.line = record.line;
                }
            }
        }
        batch
    }

    /// Keeps the first `len` events, and removes the bytes that a panicking writer left behind them.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
        self.bytes
            .truncate(self.entries.last().map_or(0, |head| head.end));
    }
}

/// One event as a store returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// Its position in the log.
    pub sequence: Sequence,
    /// The SSE event name.
    pub name: String,
    /// The stream it belongs to, or `None` for every stream.
    pub key: Option<StreamKey>,
    /// How retention treats it. Only two methods must return the appended value, because the log closes the events
    /// that they return: [`recover_open_events`](crate::store::OpenEventRecovery::recover_open_events) and
    /// [`read_open_global_events`](crate::store::OpenEventRecovery::read_open_global_events). Other reads may return
    /// [`Pinning::None`] instead.
    pub pin: Pinning,
    /// The payload as it was appended, byte for byte. Only line breaks (CR, LF, CRLF) may come back as LF, because SSE
    /// delivers every line break as LF.
    pub payload: Bytes,
}

impl StoredEvent {
    /// Creates an event that was appended with this sequence. Without a key it belongs to every stream.
    pub fn new(
        sequence: Sequence,
        name: impl Into<String>,
        key: Option<StreamKey>,
        pin: Pinning,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            sequence,
            name: name.into(),
            key,
            pin,
            payload: payload.into(),
        }
    }
}
