//! Immutable blocks of encoded SSE frames with a small index entry per event, and the slices that readers get of them.
//! A published block never changes. The worker thread builds blocks; readers read them without a lock.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    log::{
        batch::{BatchRecord, StoredEvent},
        event::{Pinning, StreamKey},
        stream_index::StreamSlot,
    },
    util::{hash::Map, sync::Instant},
    wire::{frame, id::Epoch},
};

/// The size at which a block is closed: 64 KiB. A block is larger only if it holds a single event that is larger.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// The index entry of one event in its block.
#[derive(Clone, Debug)]
pub(crate) struct EventEntry {
    /// The end of the event's frame, which begins at the end of the previous frame.
    end: u32,
    /// The length of the frame before the payload; 0 if the payload spans several `data:` lines.
    head: u16,
    role: PinRole,
    /// Index into the block's streams, plus 1; 0 if the event belongs to every stream.
    stream: u32,
}

/// What an event does to its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PinRole {
    None,
    Opens,
    Closes,
    State,
}

impl PinRole {
    /// Returns whether the block holds the token of such an event. No reader uses the token of a closing event.
    fn has_token(self) -> bool {
        matches!(self, Self::Opens | Self::State)
    }
}

/// A stream that has events in a block.
#[derive(Clone, Copy, Debug)]
struct BlockStream {
    slot: StreamSlot,
    /// The end of the bytes of its key, which begin at the end of the previous key.
    end: u32,
}

/// The streams that have events in a block. The block stores the keys itself, because a reader may hold a block longer
/// than the index holds its streams.
#[derive(Clone, Debug, Default)]
struct BlockStreams {
    all: Vec<BlockStream>,
    keys: Vec<u8>,
}

impl BlockStreams {
    /// Adds a stream. Returns its index plus 1.
    fn add(&mut self, slot: StreamSlot, key: &[u8]) -> u32 {
        self.keys.extend_from_slice(key);
        let end = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.all.push(BlockStream { slot, end });
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// Frees unused capacity.
    fn shrunk_to_fit(mut self) -> Self {
        self.all.shrink_to_fit();
        self.keys.shrink_to_fit();
        self
    }

    fn get(&self, stream: u32) -> Option<(StreamSlot, &[u8])> {
        let place = (stream as usize).checked_sub(1)?;
        let stream = self.all.get(place)?;
        let before = place.checked_sub(1).and_then(|before| self.all.get(before));
        let start = before.map_or(0, |before| before.end as usize);
        Some((stream.slot, self.keys.get(start..stream.end as usize)?))
    }
}

/// Frames that are published together and whose memory is freed together.
#[derive(Debug)]
pub(crate) struct Block {
    sequences: Sequences,
    bytes: Bytes,
    entries: Box<[EventEntry]>,
    streams: BlockStreams,
    /// The tokens of the block's opening events and states, in order.
    tokens: Box<[u64]>,
    created: Instant,
}

#[derive(Debug)]
enum Sequences {
    /// Holds the first sequence; the following ones have no holes.
    Dense(u64),
    Sparse(Box<[u64]>),
}

/// Collects frames for the next block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    entries: Vec<EventEntry>,
    sequences: Vec<u64>,
    streams: BlockStreams,
    tokens: Vec<u64>,
}

impl BlockBuilder {
    pub(crate) fn with_capacity(bytes: usize, events: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(events),
            sequences: Vec::with_capacity(events),
            streams: BlockStreams::default(),
            tokens: Vec::new(),
        }
    }

    /// Returns the size of all frames, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a stream to the block. Returns the number to pass to [`Self::set_stream`].
    pub(crate) fn add_stream(&mut self, slot: StreamSlot, key: &StreamKey) -> u32 {
        self.streams.add(slot, key.as_bytes())
    }

    /// Sets the stream of the event at this index.
    pub(crate) fn set_stream(&mut self, place: usize, stream: u32) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.stream = stream;
        }
    }

    /// Appends an event. It belongs to every stream until its stream is set.
    pub(crate) fn push(&mut self, epoch: Epoch, sequence: u64, record: &BatchRecord<'_>) {
        let (out, name, payload) = (&mut self.bytes, record.name(), record.payload());
        let head = if record.is_line() {
            Some(frame::line_event(out, name, epoch, sequence, payload))
        } else {
            frame::event(out, name, epoch, sequence, payload)
        };
        self.finish_entry(sequence, head, record.pin(), 0);
    }

    /// Appends an event of a page. `key` is given only if the block will be searched by stream.
    pub(crate) fn push_stored(
        &mut self,
        epoch: Epoch,
        event: &StoredEvent,
        key: Option<StreamKey>,
    ) {
        let sequence = event.sequence.get();
        let head = frame::event(
            &mut self.bytes,
            &event.name,
            epoch,
            sequence,
            &event.payload,
        );
        let stream = key.map_or(0, |key| self.add_stream(StreamSlot::NONE, &key));
        self.finish_entry(sequence, head, Pinning::None, stream);
    }

    /// Appends the events of a slice, with their frames unchanged.
    pub(crate) fn push_slice(&mut self, slice: &Slice, streams_by_slot: &mut Map<StreamSlot, u32>) {
        for event in slice.events() {
            self.bytes.extend_from_slice(event.text());
            let entry = event.entry;
            let head = (entry.head > 0).then_some(usize::from(entry.head));
            let stream = event.stream().map_or(0, |(slot, key)| {
                let add = || self.streams.add(slot, key);
                *streams_by_slot.entry(slot).or_insert_with(add)
            });
            self.finish_entry(event.sequence, head, event.pin(), stream);
        }
    }

    fn finish_entry(&mut self, sequence: u64, head: Option<usize>, pin: Pinning, stream: u32) {
        let (role, token) = match pin {
            Pinning::None => (PinRole::None, None),
            Pinning::Open(token) => (PinRole::Opens, Some(token)),
            Pinning::Close(_) => (PinRole::Closes, None),
            Pinning::State(token) => (PinRole::State, Some(token)),
        };
        // A block is far smaller than 4 GiB, so its offsets fit in 32 bits. The head consists of `event: `, the name,
        // `id: `, the id and `data: ` with their line breaks: at most 7 + 64 + 5 + 29 + 7 bytes.
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let head = head.and_then(|head| u16::try_from(head).ok()).unwrap_or(0);
        self.entries.push(EventEntry {
            end,
            head,
            role,
            stream,
        });
        self.tokens.extend(token);
        self.sequences.push(sequence);
    }

    pub(crate) fn build(self, created: Instant) -> Block {
        let first = self.sequences.first().copied().unwrap_or_default();
        let dense = self
            .sequences
            .iter()
            .zip(first..)
            .all(|(sequence, expected)| *sequence == expected);
        let mut bytes = self.bytes;
        bytes.shrink_to_fit();
        Block {
            sequences: if dense {
                Sequences::Dense(first)
            } else {
                Sequences::Sparse(self.sequences.into_boxed_slice())
            },
            bytes: Bytes::from(bytes),
            entries: self.entries.into_boxed_slice(),
            streams: self.streams.shrunk_to_fit(),
            tokens: self.tokens.into_boxed_slice(),
            created,
        }
    }
}

impl Block {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn created(&self) -> Instant {
        self.created
    }

    pub(crate) fn sequence(&self, index: usize) -> u64 {
        match &self.sequences {
            Sequences::Dense(first) => first + index as u64,
            Sequences::Sparse(all) => all.get(index).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.sequence(self.len().saturating_sub(1))
    }

    /// Returns the index of the first event after `sequence`.
    pub(crate) fn index_after(&self, sequence: u64) -> usize {
        match &self.sequences {
            Sequences::Dense(first) => usize::try_from((sequence + 1).saturating_sub(*first))
                .unwrap_or(usize::MAX)
                .min(self.len()),
            Sequences::Sparse(all) => all.partition_point(|one| *one <= sequence),
        }
    }

    pub(crate) fn event(&self, index: usize) -> Option<BlockEvent<'_>> {
        let entry = self.entries.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.end,
            None => 0,
        };
        Some(BlockEvent {
            block: self,
            index,
            entry,
            sequence: self.sequence(index),
            start: start as usize,
        })
    }
}

/// One event in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockEvent<'a> {
    block: &'a Block,
    index: usize,
    entry: &'a EventEntry,
    sequence: u64,
    start: usize,
}

impl<'a> BlockEvent<'a> {
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the event belongs to every stream.
    pub(crate) fn is_global(&self) -> bool {
        self.entry.stream == 0
    }

    pub(crate) fn key(&self) -> Option<StreamKey> {
        let (_, key) = self.stream()?;
        StreamKey::new(key).ok()
    }

    /// Returns the stream's slot in the index and its key. The slot is valid while the index retains the event.
    pub(crate) fn stream(&self) -> Option<(StreamSlot, &'a [u8])> {
        self.block.streams.get(self.entry.stream)
    }

    /// Returns whether the event closes a token.
    pub(crate) fn closes(&self) -> bool {
        self.entry.role == PinRole::Closes
    }

    /// Returns the pin of the event. The token of a closing event is 0, because the block does not hold it.
    pub(crate) fn pin(&self) -> Pinning {
        let token = || {
            let before = self.block.entries.iter().take(self.index);
            let place = before.filter(|entry| entry.role.has_token()).count();
            self.block.tokens.get(place).copied()
        };
        let pin = match self.entry.role {
            PinRole::None => None,
            PinRole::Opens => token().map(Pinning::Open),
            PinRole::Closes => Some(Pinning::Close(0)),
            PinRole::State => token().map(Pinning::State),
        };
        pin.unwrap_or_default()
    }

    pub(crate) fn size(&self) -> usize {
        self.entry.end as usize - self.start
    }

    pub(crate) fn frame(&self) -> Bytes {
        self.block.bytes.slice(self.start..self.entry.end as usize)
    }

    pub(crate) fn name(&self) -> &str {
        let name = self.text().get("event: ".len()..).unwrap_or_default();
        let length = name.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        name.get(..length)
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> Bytes {
        if self.entry.head == 0 {
            return Bytes::from(frame::payload_of(self.text()));
        }
        let end = self.entry.end as usize - "\n\n".len();
        self.block
            .bytes
            .slice(self.start + usize::from(self.entry.head)..end)
    }

    /// Calls `read` with the payload. If the payload is contiguous, this clones no handle to the block.
    pub(crate) fn with_payload<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        if self.entry.head == 0 {
            return read(&frame::payload_of(self.text()));
        }
        let text = self.text();
        read(
            text.get(usize::from(self.entry.head)..text.len() - "\n\n".len())
                .unwrap_or_default(),
        )
    }

    fn text(&self) -> &'a [u8] {
        self.block
            .bytes
            .get(self.start..self.entry.end as usize)
            .unwrap_or_default()
    }
}

/// Consecutive events of one block.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) block: Arc<Block>,
    pub(crate) range: Range<usize>,
}

impl Slice {
    pub(crate) fn whole(block: Arc<Block>) -> Self {
        let range = 0..block.len();
        Self { block, range }
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = BlockEvent<'_>> {
        self.range
            .clone()
            .filter_map(|index| self.block.event(index))
    }

    pub(crate) fn last(&self) -> u64 {
        self.block.sequence(self.range.end.saturating_sub(1))
    }

    /// Returns the bytes of all its frames, without a copy.
    pub(crate) fn bytes(&self) -> Bytes {
        let start = self
            .block
            .event(self.range.start)
            .map_or(0, |event| event.start);
        let end = self.block.event(self.range.end.saturating_sub(1));
        let end = end.map_or(start, |event| event.entry.end as usize);
        self.block.bytes.slice(start..end)
    }

    /// Returns the runs of events that `keep` accepts.
    pub(crate) fn filter(&self, mut keep: impl FnMut(&BlockEvent<'_>) -> bool) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for index in self.range.clone() {
            let Some(event) = self.block.event(index) else {
                break;
            };
            if !keep(&event) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.range.end == index => run.range.end = index + 1,
                _ => runs.push(Self {
                    block: Arc::clone(&self.block),
                    range: index..index + 1,
                }),
            }
        }
        runs
    }
}
