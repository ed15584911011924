//! The index by stream: where each stream's events stand, and who waits for them. Written by the worker thread,
//! read by subscribers, under the lock of the blocks.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::BuildHasher as _,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use hashbrown::HashTable;

use crate::{
    log::event::StreamKey,
    util::{
        hash::RandomState,
        sync::{
            Mutex, StaticCounter,
            atomic::{AtomicBool, Ordering},
            catch_panic, lock,
        },
    },
};

/// Where a stream's entry is, as long as the stream is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamSlot(u32);

impl StreamSlot {
    /// Of events that are not in the index.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// One stream of the log.
#[derive(Debug)]
struct StreamEntry {
    name: InlineKey,
    /// The first sequence that this entry can know of: an earlier entry of the same stream may have been forgotten.
    since: u64,
    /// Sequences of the retained events, ascending.
    sequences: SequenceList,
    /// The block that named it last, by its first event, and where in that block's names.
    block_stream: (u64, u32),
    /// Opening events that wait for their closing one: while there are any, the stream is held.
    open: u32,
    /// Whether it is in the list of those to wake at the next publication.
    dirty: bool,
    evicted: EvictedCount,
    /// Of few streams.
    wake_flags: Option<Box<StreamWakers>>,
}

#[derive(Debug, Default)]
struct StreamWakers(Vec<Arc<WakeFlag>>);

impl StreamEntry {
    fn new(id: &StreamKey, since: u64) -> Self {
        Self {
            name: InlineKey::of(id),
            since,
            sequences: SequenceList::default(),
            block_stream: (0, 0),
            open: 0,
            dirty: false,
            evicted: EvictedCount::default(),
            wake_flags: None,
        }
    }

    fn is_held(&self) -> bool {
        !self.sequences.is_empty() || self.open > 0
    }

    /// How many events of the stream in `after + 1..=to` retention took; `None` when not known.
    fn lost(&self, after: u64, to: u64) -> Option<u64> {
        if after.saturating_add(1) < self.since {
            return None;
        }
        self.evicted.count_in(after, to)
    }
}

/// The bytes of a stream's key: those of most, which are ids of sixteen, stand in the entry.
#[derive(Debug)]
enum InlineKey {
    Short(u8, [u8; 22]),
    Long(Box<[u8]>),
}

impl InlineKey {
    fn of(id: &StreamKey) -> Self {
        let bytes = id.as_bytes();
        let mut short = [0; 22];
        match (u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(length), Some(slot)) => {
                slot.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// Ascending sequences. Those of a short stream stand in its entry.
#[derive(Debug)]
enum SequenceList {
    Few(u8, [u64; FEW]),
    Many(VecDeque<u64>),
}

const FEW: usize = 4;

impl Default for SequenceList {
    fn default() -> Self {
        Self::Few(0, [0; FEW])
    }
}

impl SequenceList {
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(length, _) => *length == 0,
            Self::Many(all) => all.is_empty(),
        }
    }

    fn push(&mut self, sequence: u64) {
        match self {
            Self::Few(length, few) => match few.get_mut(usize::from(*length)) {
                Some(place) => {
                    *place = sequence;
                    *length += 1;
                }
                None => *self = Self::Many(few.iter().copied().chain([sequence]).collect()),
            },
            Self::Many(all) => all.push_back(sequence),
        }
    }

    fn last(&self) -> Option<u64> {
        match self {
            Self::Few(length, few) => few.get(usize::from(*length).checked_sub(1)?).copied(),
            Self::Many(all) => all.back().copied(),
        }
    }

    /// Takes the first one away if it is this one.
    fn pop(&mut self, sequence: u64) -> bool {
        match self {
            Self::Few(length, few) => {
                let is_first = *length > 0 && few.first() == Some(&sequence);
                if is_first {
                    few.rotate_left(1);
                    *length -= 1;
                }
                is_first
            }
            Self::Many(all) => {
                let is_first = all.front() == Some(&sequence);
                if is_first {
                    all.pop_front();
                }
                is_first
            }
        }
    }

    /// The first ones in `after + 1..=upto`, at most `limit`.
    fn range_into(&self, after: u64, upto: u64, limit: usize, found: &mut Vec<u64>) {
        let wanted = |one: &&u64| **one <= upto;
        match self {
            Self::Few(length, few) => {
                let few = few.iter().take(usize::from(*length));
                let few = few.skip_while(|one| **one <= after);
                found.extend(few.take_while(wanted).take(limit));
            }
            Self::Many(all) => {
                let from = all.partition_point(|one| *one <= after);
                found.extend(all.range(from..).take_while(wanted).take(limit));
            }
        }
    }
}

/// What retention took from one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EvictedCount {
    count: u64,
    first: u64,
    last: u64,
}

impl EvictedCount {
    pub(crate) fn add(&mut self, sequence: u64) {
        if self.count == 0 {
            self.first = sequence;
        }
        self.count += 1;
        self.last = sequence;
    }

    /// How many of them are in `after + 1..=to`; `None` when only some are, as their places are not kept.
    pub(crate) fn count_in(self, after: u64, to: u64) -> Option<u64> {
        if self.count == 0 || self.last <= after || to < self.first {
            Some(0)
        } else if after < self.first && self.last <= to {
            Some(self.count)
        } else {
            None
        }
    }
}

/// Entries in pieces that never move, so that more of them cost no copy of those that are there. A place that becomes free is
/// the next to be taken: its memory is at hand then, and where streams come and go with every event, fetching that is most
/// of what they cost.
#[derive(Debug, Default)]
struct EntrySlab {
    chunks: Vec<Vec<Option<StreamEntry>>>,
    free: Vec<u32>,
    count: usize,
}

/// Entries of one piece.
const CHUNK: usize = 256;

impl EntrySlab {
    fn get(&self, StreamSlot(slot): StreamSlot) -> Option<&StreamEntry> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?;
        chunk.get(slot as usize % CHUNK)?.as_ref()
    }

    fn get_mut(&mut self, StreamSlot(slot): StreamSlot) -> Option<&mut StreamEntry> {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK)?;
        chunk.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    fn insert(&mut self, stream: StreamEntry) -> StreamSlot {
        self.count += 1;
        if let Some(slot) = self.free.pop() {
            let chunk = self.chunks.get_mut(slot as usize / CHUNK);
            if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(slot as usize % CHUNK)) {
                *place = Some(stream);
            }
            return StreamSlot(slot);
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.last_mut() else {
            return StreamSlot::NONE;
        };
        chunk.push(Some(stream));
        // Their number is bounded by retention and readers, far below.
        StreamSlot(u32::try_from(before + chunk.len() - 1).unwrap_or(u32::MAX))
    }

    fn remove(&mut self, StreamSlot(slot): StreamSlot) {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK);
        if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(slot as usize % CHUNK))
            && place.take().is_some()
        {
            self.count -= 1;
            self.free.push(slot);
        }
        if self.count == 0 {
            self.chunks.truncate(1);
            self.chunks.iter_mut().for_each(Vec::clear);
            self.free = Vec::new();
        }
    }
}

/// All streams of the log. It has no lock of its own, but stands under that of the blocks, with which it must agree.
#[derive(Debug)]
pub(crate) struct StreamIndex {
    /// By the hash of their names.
    table: HashTable<StreamSlot>,
    hashing: RandomState,
    entries: EntrySlab,
    /// The newest sequence of any stream.
    newest: u64,
    /// How many streams are held.
    held: usize,
    /// Streams that are waited for and have events which are not published yet.
    dirty: Vec<StreamSlot>,
}

impl StreamIndex {
    pub(crate) fn new(newest: u64) -> Self {
        Self {
            table: HashTable::new(),
            hashing: RandomState::default(),
            entries: EntrySlab::default(),
            newest,
            held: 0,
            dirty: Vec::new(),
        }
    }

    /// Where the stream is, if it is here.
    pub(crate) fn find(&self, id: &StreamKey) -> Option<StreamSlot> {
        let hash = self.hashing.hash_one(id.as_bytes());
        let is_it = |slot: &StreamSlot| self.has_name(*slot, id);
        self.table.find(hash, is_it).copied()
    }

    fn get(&self, id: &StreamKey) -> Option<&StreamEntry> {
        self.entries.get(self.find(id)?)
    }

    fn has_name(&self, slot: StreamSlot, id: &StreamKey) -> bool {
        let stream = self.entries.get(slot);
        stream.is_some_and(|stream| stream.name.bytes() == id.as_bytes())
    }

    /// The place of a stream, which is made when it is not there yet, and then knows of events from `since` on.
    fn find_or_insert(&mut self, id: &StreamKey, since: u64) -> StreamSlot {
        let hash = self.hashing.hash_one(id.as_bytes());
        let Self {
            table,
            hashing,
            entries,
            ..
        } = self;
        let is_it = |slot: &StreamSlot| {
            let stream = entries.get(*slot);
            stream.is_some_and(|stream| stream.name.bytes() == id.as_bytes())
        };
        if let Some(slot) = table.find(hash, is_it) {
            return *slot;
        }
        let slot = entries.insert(StreamEntry::new(id, since));
        table.insert_unique(hash, slot, |slot| {
            let stream = entries.get(*slot);
            hashing.hash_one(stream.map_or(&[][..], |stream| stream.name.bytes()))
        });
        slot
    }

    /// Adds an event to its stream, which is made when it is not there yet. `last` is the stream of the event before, which
    /// is often the same.
    pub(crate) fn push(&mut self, id: &StreamKey, sequence: u64, last: StreamSlot) -> StreamSlot {
        self.newest = sequence;
        let slot = if self.has_name(last, id) {
            last
        } else {
            self.find_or_insert(id, sequence)
        };
        if let Some(stream) = self.entries.get_mut(slot) {
            self.held += usize::from(!stream.is_held());
            stream.sequences.push(sequence);
            if stream.wake_flags.is_some() && !stream.dirty {
                stream.dirty = true;
                self.dirty.push(slot);
            }
        }
        slot
    }

    /// Where the block that begins with the event `first` names the stream; `name` names it if it does not yet.
    pub(crate) fn stream_in_block(
        &mut self,
        slot: StreamSlot,
        first: u64,
        name: impl FnOnce() -> u32,
    ) -> u32 {
        let Some(stream) = self.entries.get_mut(slot) else {
            return name();
        };
        if stream.block_stream.0 != first {
            stream.block_stream = (first, name());
        }
        stream.block_stream.1
    }

    pub(crate) fn opened(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.open += 1;
        }
    }

    pub(crate) fn closed(&mut self, slot: StreamSlot) {
        if let Some(stream) = self.entries.get_mut(slot) {
            stream.open = stream.open.saturating_sub(1);
        }
    }

    /// Whether something is open in the stream.
    pub(crate) fn is_open(&self, slot: StreamSlot) -> bool {
        self.entries.get(slot).is_some_and(|stream| stream.open > 0)
    }

    /// Sequences in `after + 1..=upto`, at most `limit`.
    pub(crate) fn sequences(
        &self,
        id: &StreamKey,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Vec<u64> {
        let mut found = Vec::new();
        if let Some(stream) = self.get(id) {
            stream.sequences.range_into(after, upto, limit, &mut found);
        }
        found
    }

    /// How many events of the stream in `after + 1..=to` retention took; `None` when not known.
    pub(crate) fn lost(&self, id: &StreamKey, after: u64, to: u64) -> Option<u64> {
        self.get(id)?.lost(after, to)
    }

    /// Whether the stream has or had events here.
    pub(crate) fn knows(&self, id: &StreamKey) -> bool {
        let stream = self.get(id);
        stream.is_some_and(|stream| stream.is_held() || stream.evicted.count > 0)
    }

    pub(crate) fn holds_events(&self, id: &StreamKey) -> bool {
        self.get(id).is_some_and(StreamEntry::is_held)
    }

    /// Forgets the oldest position of a stream; whether that now holds nothing. It is gone then, if nobody waits for it.
    pub(crate) fn evict(&mut self, slot: StreamSlot, sequence: u64) -> bool {
        let Some(stream) = self.entries.get_mut(slot) else {
            return false;
        };
        if !stream.sequences.pop(sequence) {
            return false;
        }
        stream.evicted.add(sequence);
        if stream.is_held() {
            return false;
        }
        self.held = self.held.saturating_sub(1);
        self.forget(slot);
        true
    }

    /// Removes the stream if it holds nothing and nobody waits for it.
    fn forget(&mut self, slot: StreamSlot) {
        let Some(stream) = self.entries.get(slot) else {
            return;
        };
        if stream.is_held() || stream.wake_flags.is_some() {
            return;
        }
        let hash = self.hashing.hash_one(stream.name.bytes());
        if let Ok(place) = self.table.find_entry(hash, |one| *one == slot) {
            place.remove();
        }
        self.entries.remove(slot);
        if self.table.is_empty() && self.table.capacity() > 2 * CHUNK {
            self.table = HashTable::new();
        }
    }

    /// Joins the waiters of a stream, of which events up to `published` are. The entry of a stream that holds no event lives
    /// as long as its waiters.
    pub(crate) fn join(&mut self, id: &StreamKey, wake_flag: &Arc<WakeFlag>, published: u64) {
        let slot = self.find_or_insert(id, self.newest + 1);
        let Some(stream) = self.entries.get_mut(slot) else {
            return;
        };
        let wake_flags = stream.wake_flags.get_or_insert_default();
        wake_flags.0.push(Arc::clone(wake_flag));
        // What is to be published next rings for those, too, who came after it was appended.
        if !stream.dirty && stream.sequences.last() > Some(published) {
            stream.dirty = true;
            self.dirty.push(slot);
        }
    }

    pub(crate) fn leave(&mut self, id: &StreamKey, wake_flag: &Arc<WakeFlag>) {
        let Some(slot) = self.find(id) else {
            return;
        };
        if let Some(stream) = self.entries.get_mut(slot) {
            if let Some(wake_flags) = &mut stream.wake_flags {
                wake_flags.0.retain(|one| !Arc::ptr_eq(one, wake_flag));
            }
            stream
                .wake_flags
                .take_if(|wake_flags| wake_flags.0.is_empty());
        }
        self.forget(slot);
    }

    /// Who waits for the stream.
    pub(crate) fn wake_flags(&self, id: &StreamKey) -> Vec<Arc<WakeFlag>> {
        let wake_flags = self.get(id).and_then(|stream| stream.wake_flags.as_ref());
        wake_flags.map_or_else(Vec::new, |wake_flags| wake_flags.0.clone())
    }

    /// Who waits for streams that have events since the last call.
    pub(crate) fn take_dirty(&mut self) -> Vec<Arc<WakeFlag>> {
        let mut wake_flags = Vec::new();
        for slot in self.dirty.drain(..) {
            // The last of them may have left, and another stream be there.
            if let Some(stream) = self.entries.get_mut(slot)
                && std::mem::take(&mut stream.dirty)
            {
                let waiting = stream
                    .wake_flags
                    .iter()
                    .flat_map(|wake_flags| &wake_flags.0);
                wake_flags.extend(waiting.map(Arc::clone));
            }
        }
        wake_flags
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }
}

/// A set of bells that ring together, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct WakeSet(Mutex<BTreeMap<u64, Arc<WakeFlag>>>);

impl WakeSet {
    pub(crate) fn join(&self, wake_flag: &Arc<WakeFlag>) {
        lock(&self.0).insert(wake_flag.number, Arc::clone(wake_flag));
    }

    pub(crate) fn leave(&self, wake_flag: &Arc<WakeFlag>) {
        lock(&self.0).remove(&wake_flag.number);
    }

    pub(crate) fn wake(&self) {
        let wake_flags: Vec<Arc<WakeFlag>> = lock(&self.0).values().map(Arc::clone).collect();
        for wake_flag in wake_flags {
            wake_flag.wake();
        }
    }
}

/// One subscriber's bell.
#[derive(Debug)]
pub(crate) struct WakeFlag {
    /// Later ones have higher numbers.
    number: u64,
    notified: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Default for WakeFlag {
    fn default() -> Self {
        static NEXT: StaticCounter = StaticCounter::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            notified: AtomicBool::default(),
            waker: Mutex::default(),
        }
    }
}

impl WakeFlag {
    /// Rings the bell. Rings that nobody answered yet are one.
    pub(crate) fn wake(&self) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            let waker = lock(&self.waker).take();
            if let Some(waker) = waker {
                // What panics in it is its own reader's mistake: others are still to be woken, and the log to go on.
                catch_panic(|| waker.wake());
            }
        }
    }

    /// Ready when the bell rang since it was last answered. The caller looks at the log after a ring, never before
    /// it asked here, so no ring is lost.
    pub(crate) fn poll_notified(&self, cx: &Context<'_>) -> Poll<()> {
        {
            let mut waker = lock(&self.waker);
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if self.notified.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    fn id(text: &str) -> StreamKey {
        StreamKey::new(text).unwrap()
    }

    impl StreamIndex {
        /// How many streams have an entry, as the table and the entries themselves say.
        fn counts(&self) -> (usize, usize) {
            (self.table.len(), self.entries.count)
        }
    }

    #[test]
    fn a_stream_that_nobody_knows_leaves_nothing_behind_its_readers() {
        let mut keys = StreamIndex::new(0);
        let (one, two) = (Arc::new(WakeFlag::default()), Arc::new(WakeFlag::default()));
        keys.join(&id("a"), &one, 0);
        keys.join(&id("a"), &two, 0);
        assert!(!keys.knows(&id("a")));
        keys.leave(&id("a"), &one);
        assert_eq!(keys.counts(), (1, 1));
        keys.leave(&id("a"), &two);
        assert_eq!(keys.counts(), (0, 0));
    }

    #[test]
    fn a_stream_with_events_outlives_its_readers_and_goes_with_its_last_event() {
        let mut keys = StreamIndex::new(0);
        let wake_flag = Arc::new(WakeFlag::default());
        keys.join(&id("a"), &wake_flag, 0);
        let slot = keys.push(&id("a"), 1, StreamSlot::NONE);
        assert_eq!((keys.find(&id("a")), keys.held()), (Some(slot), 1));
        keys.leave(&id("a"), &wake_flag);
        assert_eq!(keys.counts(), (1, 1));
        assert!(keys.evict(slot, 1));
        assert_eq!((keys.counts(), keys.held()), ((0, 0), 0));
    }

    #[test]
    fn who_joins_between_an_event_and_its_publication_is_woken_by_that() {
        let mut keys = StreamIndex::new(0);
        let (early, late) = (Arc::new(WakeFlag::default()), Arc::new(WakeFlag::default()));
        keys.join(&id("a"), &early, 0);
        keys.push(&id("a"), 1, StreamSlot::NONE);
        keys.push(&id("b"), 2, StreamSlot::NONE);
        keys.join(&id("b"), &late, 0);
        let dirty = keys.take_dirty();
        assert_eq!(dirty.len(), 2);
        assert!(Arc::ptr_eq(&dirty[0], &early) && Arc::ptr_eq(&dirty[1], &late));
        keys.join(&id("b"), &early, 2);
        assert_eq!(keys.take_dirty().len(), 0, "it can see the event");
    }

    #[test]
    fn streams_are_found_by_their_keys_while_others_come_and_go() {
        let mut keys = StreamIndex::new(0);
        let name = |number: u64| {
            // Short and long ones.
            let length = usize::try_from(number % 5).unwrap() * 12 + 1;
            id(&format!("{number:0length$}"))
        };
        let held = 1000;
        for number in 1..=5 * held {
            keys.push(&name(number), number, StreamSlot::NONE);
            if let Some(gone @ 1..) = number.checked_sub(held) {
                let slot = keys.find(&name(gone)).unwrap();
                assert!(keys.evict(slot, gone));
                assert_eq!(keys.find(&name(gone)), None);
            }
        }
        for number in 4 * held + 1..=5 * held {
            assert_eq!(keys.sequences(&name(number), 0, u64::MAX, 2), [number]);
        }
        let chunks = keys.entries.chunks.len();
        assert!(chunks <= 5, "{chunks}");
        for number in 4 * held + 1..=5 * held {
            let slot = keys.find(&name(number)).unwrap();
            assert!(keys.evict(slot, number));
        }
        assert_eq!((keys.counts(), keys.entries.chunks.len()), ((0, 0), 1));
    }

    #[test]
    fn positions_are_the_same_however_many_there_are() {
        let mut sequences = SequenceList::default();
        let mut model = VecDeque::new();
        for step in 1..=200_u64 {
            // More come than go in the first half, and fewer in the second.
            let comes = if step <= 100 {
                step % 3 > 0
            } else {
                step % 3 == 0
            };
            if comes {
                sequences.push(step);
                model.push_back(step);
            } else if let Some(first) = model.pop_front() {
                assert!(!sequences.pop(first + 1));
                assert!(sequences.pop(first));
            }
            let mut found = Vec::new();
            sequences.range_into(step / 2, step - 1, 3, &mut found);
            let wanted = model
                .iter()
                .filter(|one| (step / 2 + 1..step).contains(*one));
            let wanted: Vec<u64> = wanted.take(3).copied().collect();
            assert_eq!(found, wanted, "{step}");
            assert_eq!(sequences.last(), model.back().copied());
            assert_eq!(sequences.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn a_loss_is_known_exactly_or_not_at_all() {
        let mut evicted = EvictedCount::default();
        assert_eq!(evicted.count_in(0, 100), Some(0));
        for sequence in [10, 20, 30] {
            evicted.add(sequence);
        }
        let cases = [
            ((0, 9), Some(0)),
            ((0, 10), None),
            ((0, 29), None),
            ((0, 30), Some(3)),
            ((9, 30), Some(3)),
            ((10, 30), None),
            ((29, 30), None),
            ((30, 99), Some(0)),
        ];
        for ((after, to), lost) in cases {
            assert_eq!(evicted.count_in(after, to), lost, "{after} to {to}");
        }
    }

    #[test]
    fn an_entry_does_not_answer_for_the_time_before_it_was_made() {
        let mut keys = StreamIndex::new(0);
        let wake_flag = Arc::new(WakeFlag::default());
        let slot = keys.push(&id("a"), 5, StreamSlot::NONE);
        keys.join(&id("a"), &wake_flag, 0);
        let lost = |keys: &StreamIndex, name, after| keys.lost(&id(name), after, 9);
        assert_eq!((lost(&keys, "a", 3), lost(&keys, "a", 4)), (None, Some(0)));
        assert!(keys.evict(slot, 5));
        assert_eq!(
            [3, 4, 5].map(|after| lost(&keys, "a", after)),
            [None, Some(1), Some(0)]
        );
        keys.join(&id("b"), &wake_flag, 0);
        assert_eq!((lost(&keys, "b", 4), lost(&keys, "b", 5)), (None, Some(0)));
        assert_eq!(lost(&keys, "c", 5), None);
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn rings_that_nobody_answered_are_one_and_none_is_lost() {
        let wakes = Arc::new(Wakes::default());
        let task = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&task);
        let wake_flag = WakeFlag::default();
        wake_flag.wake();
        assert_eq!(
            wake_flag.poll_notified(&context),
            Poll::Ready(()),
            "a ring before the first look counts"
        );
        assert_eq!(wake_flag.poll_notified(&context), Poll::Pending);
        wake_flag.wake();
        wake_flag.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(wake_flag.poll_notified(&context), Poll::Ready(()));
        assert_eq!(wake_flag.poll_notified(&context), Poll::Pending);
        wake_flag.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }
}
