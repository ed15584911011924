//! A plain store that keeps every promise, with several handles on one list. It can also break each
//! promise, so that the suite can be tested.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::ready,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use livespan::{
    Error, EventStore, Retention,
    sse::{Epoch, Pinning, Sequence, StreamKey},
    store::{
        AbandonedEvent, Appended, Batch, EpochStart, EvictedEvents, EvictedFuture, HeadFuture,
        KeepError, KeptStreams, OpenEventRecovery, PageLimit, ReadFuture, RecoveredEvents,
        SharedLog, StoredEvent, StoredStream, StreamsFuture,
    },
};
use livespan_conformance::{Fault, StoreLocation};

/// One way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Every hundredth event is lost.
    SkipsAnEvent,
    /// The first event of a page occurs twice.
    GivesAnEventTwice,
    /// `read_after(n)` begins with event n instead of the one after it.
    IncludesThePlace,
    /// A page has one event too many.
    OverfillsPages,
    /// A page ignores the bound on bytes.
    IgnoresBytes,
    /// A page is empty if its first event exceeds the limit.
    GivesNoEventLargerThanAPage,
    /// Reads of streams omit events that belong to every stream.
    ForgetsKeylessEvents,
    /// Reads of several streams return one stream after the other.
    ReordersAcrossStreams,
    /// Stream keys are compared without a trailing zero byte.
    ConfusesKeys,
    CorruptsZero,
    Corrupts255,
    /// Names are cut to 63 characters.
    CutsNames,
    KeepsEverything,
    IgnoresRetentionOfBytes,
    IgnoresRetentionOfAge,
    /// `oldest()` does not report evictions.
    HidesEviction,
    /// `evicted()` always counts one event.
    MiscountsEvicted,
    /// Opening events are evicted like all other events.
    LosesPins,
    /// Closing events release nothing.
    NeverReleases,
    /// States are evicted like all other events.
    LosesStates,
    /// Streams share their tokens.
    SharesTokens,
    PinsWithoutBound,
    /// Events of open streams are evicted like all others.
    LetsRunningStreamsGo,
    /// Streams that are kept on request are evicted like all others.
    LetsKeptStreamsGo,
    ForgetsKeptStreamsAtOpening,
    OpenGlobalWithClosed,
    ListsStreamsOldestFirst,
    /// Sequences start again at 1 when every event is gone.
    ReusesNumbers,
    /// A closed handle prevents others from writing until it is dropped.
    KeepsItsPlaceWhenClosed,
    ReusesEpochs,
    ForgetsLives,
    /// Events that are closed already are returned as abandoned, too.
    AbandonsTooMuch,
    AbandonsAgain,
    /// A failed append keeps the first half of its batch.
    KeepsHalfABatch,
    /// Readers see a batch event by event.
    ShowsHalfABatch,
    /// If the answer to an append was lost, the retried batch is kept again.
    KeepsRetriesTwice,
    /// An equal batch is mistaken for a retry.
    DropsEqualBatches,
    /// Deduplicated events are kept again.
    KeepsRepeats,
    /// Deduplicated events are forgotten when the store is opened.
    ForgetsOnceAtOpening,
    KeepsRepeatsOfOthers,
    /// A deduplicated event is left out for ever.
    RemembersOnceForEver,
    /// An append of another handle does not end a wait.
    SleepsThroughAppends,
    WakesForEveryStream,
    /// The next events get the sequences that the log has skipped.
    ClosesRanks,
}

/// Whether several handles append, as on a shared server, or only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    One,
    Many,
}

#[derive(Debug)]
struct Kept {
    event: StoredEvent,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    key: Option<StreamKey>,
    /// The writer, if the event belongs to every stream.
    writer: u64,
    number: u64,
}

#[derive(Debug, Default)]
struct Disk {
    kept: BTreeMap<u64, Kept>,
    pinned: BTreeMap<u64, StoredEvent>,
    pinned_bytes: usize,
    /// Events beyond retention that are kept because their streams are open, oldest first.
    carried: BTreeMap<u64, StoredEvent>,
    /// The streams that are kept on request.
    requested: BTreeSet<StreamKey>,
    open: HashMap<Token, u64>,
    /// The newest states of the open tokens.
    states: HashMap<Token, u64>,
    /// The opening events of the open tokens, and their states.
    open_sequences: HashSet<u64>,
    /// The handle that opened each open event.
    openers: HashMap<u64, u64>,
    bytes: usize,
    head: u64,
    oldest: u64,
    epochs: Vec<EpochStart>,
    handles: u64,
    alive: Vec<u64>,
    fault: Option<Fault>,
    /// The handle that kept each deduplicated event, and the event's sequence. The key is the
    /// stream, the token, and whether the event closes it.
    once: HashMap<(StreamKey, u64, bool), (u64, u64)>,
    last_batch: HashMap<u64, (Vec<StoredEvent>, Appended, bool)>,
}

impl Disk {
    fn is_open(&self, key: Option<StreamKey>) -> bool {
        key.is_some() && self.open.keys().any(|token| token.key == key)
    }

    fn is_requested(&self, key: Option<StreamKey>) -> bool {
        key.is_some_and(|key| self.requested.contains(&key))
    }

    /// Returns the number of events of these streams.
    fn size_of<'a>(&self, keys: impl Iterator<Item = &'a StreamKey>) -> usize {
        let keys: Vec<&StreamKey> = keys.collect();
        let all = self.events_from(0);
        all.filter(|event| event.key.is_some_and(|key| keys.contains(&&key)))
            .count()
    }

    /// Returns the events from this sequence on, oldest first.
    fn events_from(&self, from: u64) -> impl Iterator<Item = &StoredEvent> {
        let early = self.pinned.range(from..).chain(self.carried.range(from..));
        let mut early: Vec<&StoredEvent> = early.map(|(_, event)| event).collect();
        early.sort_by_key(|event| event.sequence);
        let kept = self.kept.range(from..).map(|(_, kept)| &kept.event);
        early.into_iter().chain(kept)
    }

    fn release_state(&mut self, token: Token) {
        if let Some(state) = self.states.remove(&token) {
            self.release(state);
        }
    }

    fn release(&mut self, opened: u64) {
        self.open_sequences.remove(&opened);
        if let Some(event) = self.pinned.remove(&opened) {
            self.pinned_bytes -= event.payload.len();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    disk: Mutex<Disk>,
    changed: Condvar,
    reads: AtomicU64,
}

/// All stores that were opened, by location.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreRegistry(Arc<Mutex<HashMap<String, Arc<Shared>>>>);

impl StoreRegistry {
    fn at(&self, location: &StoreLocation) -> Arc<Shared> {
        let mut places = self.0.lock().unwrap();
        Arc::clone(places.entry(location.name().to_owned()).or_default())
    }

    pub(crate) fn open(
        &self,
        location: &StoreLocation,
        writers: Writers,
        bug: Bug,
    ) -> ReferenceStore {
        ReferenceStore {
            shared: self.at(location),
            retention: location.retention(),
            writers,
            bug,
            id: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            tended: AtomicBool::new(false),
        }
    }

    pub(crate) fn inject(&self, location: &StoreLocation, fault: Fault) -> bool {
        let fault = (fault != Fault::None).then_some(fault);
        self.at(location).disk.lock().unwrap().fault = fault;
        true
    }
}

#[derive(Debug)]
pub(crate) struct ReferenceStore {
    shared: Arc<Shared>,
    retention: Retention,
    writers: Writers,
    bug: Bug,
    id: AtomicU64,
    interrupted: AtomicBool,
    tended: AtomicBool,
}

impl ReferenceStore {
    fn id(&self) -> u64 {
        self.id.load(Ordering::SeqCst)
    }

    fn stored(&self, batch: &Batch, first: u64) -> Vec<StoredEvent> {
        batch
            .iter()
            .zip(first..)
            .map(|(record, sequence)| {
                let name: String = match self.bug {
                    Bug::CutsNames => record.name().chars().take(63).collect(),
                    _ => record.name().to_owned(),
                };
                let key = record.stream_key().copied();
                let payload = self.payload(record.payload());
                StoredEvent::new(Sequence::new(sequence), name, key, record.pin(), payload)
            })
            .collect()
    }

    fn payload(&self, payload: &[u8]) -> Bytes {
        let corrupt = match self.bug {
            Bug::CorruptsZero => 0,
            Bug::Corrupts255 => 255,
            _ => return Bytes::copy_from_slice(payload),
        };
        payload
            .iter()
            .map(|byte| if *byte == corrupt { b'?' } else { *byte })
            .collect()
    }

    fn token(&self, event: &StoredEvent, number: u64) -> Token {
        Token {
            key: event.key.filter(|_| self.bug != Bug::SharesTokens),
            writer: if event.key.is_none() { self.id() } else { 0 },
            number,
        }
    }

    /// Returns the indexes of deduplicated events that are already kept.
    fn duplicates(&self, disk: &mut Disk, batch: &Batch, first: u64) -> Vec<usize> {
        let mut duplicates = Vec::new();
        for (place, record) in batch.iter().enumerate() {
            let (token, closes) = match record.pin() {
                Pinning::Open(token) => (token, false),
                Pinning::Close(token) => (token, true),
                _ => continue,
            };
            let Some(key) = record.stream_key().filter(|_| record.is_deduplicated()) else {
                continue;
            };
            let here = first + (place - duplicates.len()) as u64;
            let is_there = |closes| {
                let Some((writer, sequence)) = disk.once.get(&(*key, token, closes)) else {
                    return false;
                };
                let kept = *sequence >= first
                    || disk.kept.contains_key(sequence)
                    || disk.pinned.contains_key(sequence)
                    || disk.carried.contains_key(sequence)
                    || self.bug == Bug::RemembersOnceForEver;
                kept && (self.bug != Bug::KeepsRepeatsOfOthers || *writer == self.id())
            };
            let is_repeated = is_there(true) || (!closes && is_there(false));
            if is_repeated && self.bug != Bug::KeepsRepeats {
                duplicates.push(place);
            } else {
                disk.once.insert((*key, token, closes), (self.id(), here));
            }
        }
        duplicates
    }

    fn add(&self, disk: &mut Disk, event: StoredEvent) {
        let sequence = event.sequence.get();
        match event.pin {
            Pinning::Open(token) => {
                let token = self.token(&event, token);
                if let Some(replaced) = disk.open.insert(token, sequence) {
                    disk.release(replaced);
                }
                disk.release_state(token);
                disk.open_sequences.insert(sequence);
                disk.openers.insert(sequence, self.id());
            }
            Pinning::Close(_) if self.bug == Bug::NeverReleases => {}
            Pinning::Close(token) => {
                let token = self.token(&event, token);
                if let Some(opened) = disk.open.remove(&token) {
                    disk.release(opened);
                }
                disk.release_state(token);
            }
            Pinning::State(token) if self.bug != Bug::LosesStates => {
                let token = self.token(&event, token);
                if event.key.is_some() && disk.open.contains_key(&token) {
                    disk.release_state(token);
                    disk.states.insert(token, sequence);
                    disk.open_sequences.insert(sequence);
                }
            }
            _ => {}
        }
        disk.head = sequence;
        if self.bug == Bug::SkipsAnEvent && sequence.is_multiple_of(100) {
            return;
        }
        disk.bytes += event.payload.len();
        let at = Instant::now();
        disk.kept.insert(sequence, Kept { event, at });
    }

    /// Returns whether an opening event of this size can be kept beyond retention.
    fn has_room(&self, disk: &Disk, size: usize) -> bool {
        let has_room = disk.pinned.len() < Retention::PINNED_EVENTS_MAX
            && disk.pinned_bytes + size <= Retention::PINNED_BYTES_MAX;
        has_room || self.bug == Bug::PinsWithoutBound
    }

    /// Removes the carried events of the largest ended stream, or of the largest stream if none has
    /// ended. An opening event of an open span is pinned instead, if there is room.
    fn evict_one_stream(&self, disk: &mut Disk) {
        let sizes = disk
            .carried
            .values()
            .fold(HashMap::new(), |mut sizes, event| {
                *sizes.entry(event.key).or_insert(0) += 1;
                sizes
            });
        let next = sizes.into_iter();
        let next = next.filter(|(key, _)| !disk.is_requested(*key));
        let next = next.max_by_key(|(key, size)| (!disk.is_open(*key), *size));
        for (sequence, event) in std::mem::take(&mut disk.carried) {
            if next.is_none_or(|(key, _)| key != event.key) {
                disk.carried.insert(sequence, event);
            } else if disk.open_sequences.contains(&sequence)
                && self.has_room(disk, event.payload.len())
            {
                disk.pinned_bytes += event.payload.len();
                disk.pinned.insert(sequence, event);
            }
        }
    }

    fn trim(&self, disk: &mut Disk) {
        if self.bug == Bug::KeepsEverything {
            return;
        }
        let share = self.retention.events_max() / Retention::CARRIED_DIVISOR;
        while let Some((&sequence, oldest)) = disk.kept.first_key_value() {
            let bytes =
                disk.bytes > self.retention.bytes_max() && self.bug != Bug::IgnoresRetentionOfBytes;
            let age = oldest.at.elapsed() > self.retention.age_max()
                && self.bug != Bug::IgnoresRetentionOfAge;
            let kept = disk.kept.len() + disk.carried.len();
            let over = kept > self.retention.events_max() || bytes || age;
            if !over || disk.kept.len() == 1 {
                break;
            }
            let Some(Kept { event, .. }) = disk.kept.remove(&sequence) else {
                break;
            };
            disk.bytes -= event.payload.len();
            let size = event.payload.len();
            let room = self.has_room(disk, size);
            let open = disk.open_sequences.contains(&sequence);
            let is_requested = disk.is_requested(event.key);
            let is_carried = self.bug != Bug::LetsRunningStreamsGo && disk.is_open(event.key);
            if (is_carried || is_requested) && share > 0 {
                disk.carried.insert(sequence, event);
                let shared = |event: &&StoredEvent| !disk.is_requested(event.key);
                if !is_requested && disk.carried.values().filter(shared).count() > share {
                    self.evict_one_stream(disk);
                }
                continue;
            }
            if open && room && self.bug != Bug::LosesPins {
                disk.pinned_bytes += size;
                disk.pinned.insert(sequence, event);
            }
        }
        if self.bug != Bug::HidesEviction {
            let first = disk.kept.first_key_value().map(|(sequence, _)| *sequence);
            disk.oldest = first.unwrap_or(disk.head + 1);
        }
    }

    fn same_key(&self, one: &StreamKey, other: &StreamKey) -> bool {
        let text = |key: &StreamKey| {
            let text = key.as_bytes();
            let cut = text
                .strip_suffix(&[0])
                .filter(|_| self.bug == Bug::ConfusesKeys);
            cut.unwrap_or(text).to_vec()
        };
        text(one) == text(other)
    }

    fn page(
        &self,
        after: Sequence,
        limit: PageLimit,
        wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Vec<StoredEvent> {
        self.shared.reads.fetch_add(1, Ordering::SeqCst);
        let disk = self.shared.disk.lock().unwrap();
        let from = match self.bug {
            Bug::IncludesThePlace => after.get(),
            _ => after.get().saturating_add(1),
        };
        let all = disk.events_from(from);
        let mut page: Vec<StoredEvent> = Vec::new();
        let mut bytes = 0;
        for event in all.filter(|event| wanted(event)) {
            let heavy = bytes + event.payload.len() > limit.bytes && self.bug != Bug::IgnoresBytes;
            let allowed = limit
                .events
                .saturating_add(usize::from(self.bug == Bug::OverfillsPages));
            let empty = page.is_empty() && self.bug != Bug::GivesNoEventLargerThanAPage;
            if (page.len() >= allowed || heavy) && !empty {
                break;
            }
            bytes += event.payload.len();
            page.push(event.clone());
        }
        if self.bug == Bug::GivesAnEventTwice && page.len() > 2 {
            page.insert(1, page[0].clone());
            page.pop();
        }
        page
    }

    /// Appends a new batch. Returns the caller's answer.
    fn append_to(&self, disk: &mut Disk, first: u64, batch: &Batch) -> Result<Appended, Error> {
        let first = match self.writers {
            Writers::Many => disk.head + 1,
            Writers::One if self.bug == Bug::ClosesRanks => disk.head + 1,
            Writers::One => first,
        };
        let events = self.stored(batch, first);
        let fault = disk.fault;
        if matches!(fault, Some(Fault::BreakAppend | Fault::LoseAnswer)) {
            disk.fault = None;
        }
        if matches!(fault, Some(Fault::BreakAppend | Fault::RefuseAppends)) {
            if self.bug == Bug::KeepsHalfABatch {
                for event in &events[..events.len() / 2] {
                    self.add(disk, event.clone());
                }
            }
            return Err(Error::store(
                "append",
                std::io::Error::other("the disk is full"),
            ));
        }
        if let Some((last, first, answered)) = disk.last_batch.get(&self.id()) {
            let equal = last
                .iter()
                .zip(&events)
                .all(|(one, other)| one.payload == other.payload);
            let retried = match self.bug {
                Bug::KeepsRetriesTwice => false,
                Bug::DropsEqualBatches => equal && last.len() == events.len(),
                _ => !answered,
            };
            if retried {
                let first = first.clone();
                if fault == Some(Fault::LoseAnswer) {
                    return Err(Error::store("append", std::io::Error::other("no answer")));
                }
                disk.last_batch.remove(&self.id());
                return Ok(first);
            }
        }
        let answered = fault != Some(Fault::LoseAnswer);
        let duplicates = self.duplicates(disk, batch, first);
        let appended = Appended::new(Sequence::new(first), duplicates.clone());
        disk.last_batch
            .insert(self.id(), (events.clone(), appended.clone(), answered));
        let kept = (0..)
            .zip(events)
            .filter(|(place, _)| !duplicates.contains(place));
        for ((_, mut event), sequence) in kept.zip(first..) {
            event.sequence = Sequence::new(sequence);
            self.add(disk, event);
        }
        let share = self.retention.events_max() / Retention::KEPT_DIVISOR;
        while disk.size_of(disk.requested.iter()) > share {
            let largest = disk.requested.iter().copied();
            let largest = largest.max_by_key(|key| disk.size_of([*key].iter()));
            largest.map(|key| disk.requested.remove(&key));
        }
        self.trim(disk);
        if answered {
            Ok(appended)
        } else {
            Err(Error::store("append", std::io::Error::other("no answer")))
        }
    }

    fn wait<T>(
        &self,
        patience: Duration,
        poll: impl Fn(&Disk) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let deadline = Instant::now() + patience;
        let mut disk = self.shared.disk.lock().unwrap();
        loop {
            if let Some(found) = poll(&disk) {
                return Ok(Some(found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.interrupted.swap(false, Ordering::SeqCst) || left.is_zero() {
                return Ok(None);
            }
            disk = self.shared.changed.wait_timeout(disk, left).unwrap().0;
        }
    }
}

impl Drop for ReferenceStore {
    fn drop(&mut self) {
        let id = self.id();
        if let Ok(mut disk) = self.shared.disk.lock() {
            disk.alive.retain(|alive| *alive != id);
        }
    }
}

impl KeptStreams for ReferenceStore {
    fn keep(&self, key: &StreamKey) -> Result<(), KeepError> {
        let mut disk = self.shared.disk.lock().unwrap();
        let share = self.retention.events_max() / Retention::KEPT_DIVISOR;
        if disk.requested.contains(key) {
            return Ok(());
        }
        if disk.size_of([*key].iter()) == 0 {
            return Err(KeepError::Unknown);
        }
        if disk.requested.len() >= Retention::KEPT_STREAMS_MAX {
            return Err(KeepError::TooMany);
        }
        if disk.size_of(disk.requested.iter().chain([key])) > share {
            return Err(KeepError::TooLarge);
        }
        if self.bug != Bug::LetsKeptStreamsGo {
            disk.requested.insert(*key);
        }
        Ok(())
    }

    fn stop_keeping(&self, key: &StreamKey) -> Result<bool, Error> {
        Ok(self.shared.disk.lock().unwrap().requested.remove(key))
    }

    fn kept(&self) -> Vec<StreamKey> {
        let disk = self.shared.disk.lock().unwrap();
        disk.requested.iter().copied().collect()
    }
}

impl EventStore for ReferenceStore {
    fn kind(&self) -> &'static str {
        "reference"
    }

    fn open(&self) -> Result<Sequence, Error> {
        let mut disk = self.shared.disk.lock().unwrap();
        if self.bug == Bug::KeepsItsPlaceWhenClosed && !disk.alive.is_empty() {
            return Err(Error::store("open the log", "another handle has it"));
        }
        disk.handles += 1;
        self.id.store(disk.handles, Ordering::SeqCst);
        let id = disk.handles;
        disk.alive.push(id);
        disk.oldest = disk.oldest.max(1);
        if self.bug == Bug::ReusesNumbers {
            disk.head = disk.kept.len() as u64;
        }
        if self.bug == Bug::ForgetsKeptStreamsAtOpening {
            disk.requested.clear();
        }
        if self.bug == Bug::ForgetsOnceAtOpening {
            disk.once.clear();
        }
        if self.bug == Bug::ForgetsLives {
            disk.epochs.clear();
        }
        if self.writers == Writers::One || disk.epochs.is_empty() {
            let epoch = match disk.epochs.first() {
                Some(life) if self.bug == Bug::ReusesEpochs => life.epoch,
                _ => Epoch::random(),
            };
            let first = Sequence::new(disk.head + 1);
            disk.epochs.push(EpochStart::new(epoch, first));
        }
        Ok(Sequence::new(disk.head))
    }

    fn epochs(&self) -> Arc<[EpochStart]> {
        self.shared.disk.lock().unwrap().epochs.clone().into()
    }

    fn append(&self, first: Sequence, batch: &Batch) -> Result<Appended, Error> {
        if self.bug == Bug::ShowsHalfABatch {
            for event in self.stored(batch, first.get()) {
                self.add(&mut self.shared.disk.lock().unwrap(), event);
                // Waits until readers have had time to see the event.
                let reads = self.shared.reads.load(Ordering::SeqCst);
                crate::support::until(|| self.shared.reads.load(Ordering::SeqCst) >= reads + 6);
            }
            return Ok(first.into());
        }
        let mut disk = self.shared.disk.lock().unwrap();
        let result = self.append_to(&mut disk, first.get(), batch);
        if self.bug != Bug::SleepsThroughAppends {
            self.shared.changed.notify_all();
        }
        result
    }

    fn oldest(&self) -> Sequence {
        Sequence::new(self.shared.disk.lock().unwrap().oldest)
    }

    fn read_after(&self, after: Sequence, limit: PageLimit) -> ReadFuture<'_> {
        Box::pin(ready(Ok(self.page(after, limit, |_| true))))
    }

    fn read_streams_after(
        &self,
        keys: &[StreamKey],
        after: Sequence,
        limit: PageLimit,
    ) -> ReadFuture<'_> {
        let mut page = self.page(after, limit, |event| match event.key {
            Some(of) => keys.iter().any(|key| self.same_key(key, &of)),
            None => self.bug != Bug::ForgetsKeylessEvents,
        });
        if self.bug == Bug::ReordersAcrossStreams && keys.len() > 1 {
            page.sort_by_key(|event| event.key.map(|key| key.as_bytes().to_vec()));
        }
        Box::pin(ready(Ok(page)))
    }

    fn streams_before(&self, before: Sequence, limit: usize) -> StreamsFuture<'_> {
        let disk = self.shared.disk.lock().unwrap();
        let mut streams: Vec<StoredStream> = Vec::new();
        for event in disk.events_from(0) {
            let Some(key) = event.key else {
                continue;
            };
            match streams.iter_mut().find(|one| one.key == key) {
                Some(known) => known.last = event.sequence,
                None => streams.push(StoredStream::new(key, event.sequence..=event.sequence)),
            }
        }
        streams.retain(|one| one.first < before);
        if self.bug != Bug::ListsStreamsOldestFirst {
            streams.reverse();
        }
        streams.truncate(limit);
        Box::pin(ready(Ok(streams)))
    }

    fn evicted(&self, keys: &[StreamKey]) -> EvictedFuture<'_> {
        let wrong = EvictedEvents::new(1, None);
        let evicted = (self.bug == Bug::MiscountsEvicted).then_some(wrong);
        Box::pin(ready(Ok(vec![evicted; keys.len()])))
    }

    fn kept_streams(&self) -> Option<&dyn KeptStreams> {
        Some(self)
    }

    fn open_event_recovery(&self) -> Option<&dyn OpenEventRecovery> {
        Some(self)
    }

    fn shared_log(&self) -> Option<&dyn SharedLog> {
        match self.writers {
            Writers::One => None,
            Writers::Many => Some(self),
        }
    }
}

impl OpenEventRecovery for ReferenceStore {
    fn recover_open_events(&self) -> Result<RecoveredEvents, Error> {
        if self
            .tended
            .swap(self.bug != Bug::AbandonsAgain, Ordering::SeqCst)
            && self.writers == Writers::One
        {
            return Ok(RecoveredEvents::default());
        }
        let mut disk = self.shared.disk.lock().unwrap();
        let disk = &mut *disk;
        let mut abandoned = Vec::new();
        for event in disk.events_from(0) {
            let sequence = event.sequence.get();
            let opener = disk.openers.get(&sequence).copied();
            let gone = opener.is_some_and(|opener| !disk.alive.contains(&opener));
            if gone && (disk.open_sequences.contains(&sequence) || self.bug == Bug::AbandonsTooMuch)
            {
                abandoned.push(AbandonedEvent::new(event.clone(), SystemTime::UNIX_EPOCH));
            }
        }
        if self.bug != Bug::AbandonsAgain {
            for one in &abandoned {
                // This handle must close them now.
                disk.openers.insert(one.event.sequence.get(), self.id());
            }
        }
        Ok(RecoveredEvents::new(abandoned, Vec::new()))
    }

    fn read_open_global_events(&self) -> ReadFuture<'_> {
        let disk = self.shared.disk.lock().unwrap();
        let all = disk.events_from(0);
        let open = |event: &StoredEvent| {
            let sequence = event.sequence.get();
            disk.open_sequences.contains(&sequence) || self.bug == Bug::OpenGlobalWithClosed
        };
        let standing = all
            .filter(|event| event.key.is_none() && open(event))
            .cloned();
        Box::pin(ready(Ok(standing.collect())))
    }
}

impl SharedLog for ReferenceStore {
    fn head(&self) -> HeadFuture<'_> {
        let head = self.shared.disk.lock().unwrap().head;
        Box::pin(ready(Ok(Sequence::new(head))))
    }

    fn wait_after(
        &self,
        after: Sequence,
        limit: PageLimit,
        timeout: Duration,
    ) -> Result<Vec<StoredEvent>, Error> {
        let found = self.wait(timeout, |disk| (disk.head > after.get()).then_some(()))?;
        Ok(found.map_or(Vec::new(), |()| self.page(after, limit, |_| true)))
    }

    fn wait_streams(
        &self,
        streams: &[(StreamKey, Sequence)],
        global_after: Sequence,
        timeout: Duration,
    ) -> Result<Vec<(Option<StreamKey>, Sequence)>, Error> {
        let newest_of_streams = self.wait(timeout, |disk| {
            let newest = |key: Option<StreamKey>, after: Sequence| {
                let mut events = disk.kept.values().map(|kept| &kept.event).rev();
                let newest = events.find(|event| {
                    event.key == key || (self.bug == Bug::WakesForEveryStream && key.is_some())
                });
                let newest = newest.map_or(Sequence::START, |event| event.sequence);
                (newest > after).then_some((key, newest))
            };
            let of_streams = streams
                .iter()
                .filter_map(|(key, after)| newest(Some(*key), *after));
            let newest_of_streams: Vec<_> = newest(None, global_after)
                .into_iter()
                .chain(of_streams)
                .collect();
            (!newest_of_streams.is_empty()).then_some(newest_of_streams)
        })?;
        Ok(newest_of_streams.unwrap_or_default())
    }

    fn interrupt(&self) {
        let _disk = self.shared.disk.lock().unwrap();
        self.interrupted.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }
}
