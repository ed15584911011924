//! A subscriber's place in the log. It owns no queue: replay and live are the same read, and what a slow client
//! costs is this place. It runs on whichever task polls it, holds no lock while it waits, and needs no runtime.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use crate::{
    error::Error,
    sse::{
        block::{BlockBuilder, BlockEvent, Slice},
        control::Gap,
        event::StreamKey,
        id::{ResumePoint, Sequence},
        keys::{Key, Waiter},
        log::{Log, Start},
        store::{PageLimit, StoredEvent},
        tail::TailRead,
    },
};

/// Blocks looked through without a match before other tasks get their turn.
const BLOCKS_PER_TURN: usize = 16;

/// Which events of its streams a reader wants. Events that belong to every stream always pass.
pub(crate) type Filter = Arc<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

/// What a reader follows.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    /// No key: all streams.
    pub(crate) keys: Vec<StreamKey>,
    pub(crate) filter: Option<Filter>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("keys", &self.keys)
            .field("filtered", &self.filter.is_some())
            .finish()
    }
}

/// The next thing that a reader gets.
#[derive(Debug)]
pub(crate) enum ReadItem {
    Events(Slice),
    /// Events without which later ones make no sense, for a reader that begins at the head: not part of its place.
    Standing(Slice),
    Gap(Gap),
    /// The store began to fail.
    Degraded,
    Closed,
}

type Page = Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>, Error>> + Send>>;

pub(crate) struct Reader {
    log: Arc<Log>,
    scope: Scope,
    keys: Vec<Arc<Key>>,
    waiter: Arc<Waiter>,
    after: u64,
    announce: bool,
    queue: VecDeque<ReadItem>,
    page: Option<Page>,
    degradations: u64,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("scope", &self.scope)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(log: &Arc<Log>, scope: Scope, resume: ResumePoint) -> Self {
        let waiter = Arc::new(Waiter::default());
        // Joined before the first look at the log, so nothing falls between the look and the first wait.
        let keys: Vec<Arc<Key>> = scope
            .keys
            .iter()
            .map(|key| log.tail.keys().join(key, &waiter))
            .collect();
        if keys.is_empty() {
            log.tail.join(&waiter);
        }
        log.count_subscriber();
        let start = log.resolve(resume);
        let mut reader = Self {
            log: Arc::clone(log),
            scope,
            keys,
            waiter,
            after: start.after,
            announce: start.announce,
            queue: VecDeque::new(),
            page: None,
            degradations: log.degradations(),
        };
        reader.begin(start);
        reader
    }

    /// The last sequence that was read, wanted or not.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Whether a reader of single streams knows that they exist; `None` for a reader of everything.
    pub(crate) fn known(&self) -> Option<bool> {
        if self.keys.is_empty() {
            None
        } else {
            Some(self.keys.iter().any(|key| key.is_known()))
        }
    }

    pub(crate) fn is_filtered(&self) -> bool {
        !self.keys.is_empty() || self.scope.filter.is_some()
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ReadItem> {
        let mut turns = 0;
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Poll::Ready(item);
            }
            if let Some(page) = &mut self.page {
                let Poll::Ready(result) = page.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.page = None;
                self.take_page(result);
                continue;
            }
            let rung = self.waiter.poll_rung(cx).is_ready();
            if self.advance() {
                turns += 1;
                if turns >= BLOCKS_PER_TURN && self.queue.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if self.log.degradations() > self.degradations {
                self.degradations = self.log.degradations();
                return Poll::Ready(ReadItem::Degraded);
            }
            // Closed is looked at before the head: what was published before the close is still read.
            if self.log.is_closed() {
                if !self.advance() {
                    return Poll::Ready(ReadItem::Closed);
                }
            } else if !rung {
                return Poll::Pending;
            }
        }
    }

    fn begin(&mut self, start: Start) {
        if start.unknown {
            self.queue.push_back(ReadItem::Gap(Gap::Epoch));
        }
        if start.live {
            let standing = self.log.tail.open().into_iter();
            let keyless =
                standing.filter(|slice| slice.events().all(|event| event.key().is_none()));
            self.queue.extend(keyless.map(ReadItem::Standing));
        }
        if self.log.is_degraded() {
            self.queue.push_back(ReadItem::Degraded);
        }
    }

    /// Moves the place by one step; whether it moved or queued something.
    fn advance(&mut self) -> bool {
        if self.keys.is_empty() {
            self.advance_all()
        } else {
            self.advance_streams()
        }
    }

    fn advance_all(&mut self) -> bool {
        match self.log.tail.read_after(self.after) {
            TailRead::Nothing => false,
            TailRead::Evicted(oldest) => {
                self.go_before(oldest);
                true
            }
            TailRead::Events(slices) => {
                self.take(slices);
                true
            }
        }
    }

    fn advance_streams(&mut self) -> bool {
        let oldest = self.log.tail.holding().oldest;
        let published = self.log.tail.published();
        if self.after + 1 < oldest && self.after < published {
            self.go_before(oldest);
            return true;
        }
        let positions = self.log.tail.positions(&self.keys, self.after);
        let Some(last) = positions.last().copied() else {
            // Nothing of these streams up to the head: the place may move on, so that a quiet stream does not
            // resume from an ancient id.
            self.after = self.after.max(published);
            return false;
        };
        let slices = self.log.tail.read_at(&positions);
        let held: usize = slices.iter().map(|slice| slice.range.len()).sum();
        if held == positions.len() {
            self.take(slices);
            self.after = last;
        }
        // Else retention overtook this reader between the two looks: the next step says what was lost.
        true
    }

    /// Crosses the stretch before `oldest`, which is not in memory: from the store if it has it, else with a gap.
    fn go_before(&mut self, oldest: u64) {
        let stored = self.log.store.oldest().get();
        if stored < oldest && stored <= self.after + 1 {
            self.page = Some(self.read_page());
            return;
        }
        let to = oldest.min(stored.max(self.after + 2)) - 1;
        self.queue_gap(to);
        self.after = to;
        self.announce = true;
    }

    fn queue_gap(&mut self, to: u64) {
        let keys = &self.scope.keys;
        let wanted =
            |key: Option<&StreamKey>| key.is_none_or(|key| keys.is_empty() || keys.contains(key));
        let pinned = self.log.tail.pinned(self.after, to + 1, wanted);
        let lost = self.lost(to, &pinned);
        if self.announce && lost != Some(0) {
            let (from, to) = (self.log.id(self.after + 1), self.log.id(to));
            self.queue
                .push_back(ReadItem::Gap(Gap::Evicted { from, to, lost }));
        }
        self.take_slices(pinned);
    }

    /// How many events of this reader's streams between its place and `to` are gone; `None` when not known.
    fn lost(&self, to: u64, pinned: &[Slice]) -> Option<u64> {
        if self.scope.filter.is_some() {
            return None;
        }
        if self.keys.is_empty() {
            return Some(to - self.after - pinned.len() as u64);
        }
        let mut lost = 0;
        for key in &self.keys {
            let evicted = key.evicted();
            if evicted.count == 0 && !key.is_known() {
                return None;
            }
            if evicted.count == 0 || self.after >= evicted.last {
                continue;
            }
            if self.after >= evicted.first {
                return None;
            }
            lost += evicted.count;
        }
        let kept = pinned
            .iter()
            .filter(|slice| slice.events().any(|event| event.key().is_some()));
        Some(lost - lost.min(kept.count() as u64))
    }

    fn read_page(&self) -> Page {
        let store = Arc::clone(&self.log.store);
        let after = Sequence::new(self.after);
        // Several streams are read as everything and sifted: a store pages one stream at a time.
        match self.scope.keys.as_slice() {
            [key] => {
                let key = *key;
                Box::pin(async move {
                    store
                        .read_stream_after(&key, after, PageLimit::default())
                        .await
                })
            }
            _ => Box::pin(async move { store.read_after(after, PageLimit::default()).await }),
        }
    }

    fn take_page(&mut self, page: Result<Vec<StoredEvent>, Error>) {
        let oldest = self.log.tail.holding().oldest;
        match page {
            Ok(events) if !events.is_empty() => {
                let mut builder = BlockBuilder::with_capacity(64 * 1024, events.len());
                for event in events.iter().filter(|event| event.sequence.get() < oldest) {
                    let sequence = event.sequence.get();
                    builder.push_stored(self.log.id(sequence).epoch(), event);
                }
                let block = Arc::new(builder.build(Instant::now()));
                let last = events
                    .last()
                    .map_or(self.after, |event| event.sequence.get());
                if block.len() > 0 {
                    self.take(vec![Slice::whole(block)]);
                }
                self.after = last.min(oldest - 1);
            }
            // Nothing more of these streams in the store: the rest is in memory.
            Ok(_) => self.after = self.after.max(oldest - 1),
            Err(error) => {
                self.log.fail(error.to_string());
                let (from, to) = (self.log.id(self.after + 1), self.log.id(oldest - 1));
                self.queue.push_back(ReadItem::Gap(Gap::Evicted {
                    from,
                    to,
                    lost: None,
                }));
                self.after = oldest - 1;
            }
        }
    }

    fn take(&mut self, slices: Vec<Slice>) {
        if let Some(last) = slices.last() {
            self.after = last.last();
        }
        self.take_slices(slices);
    }

    fn take_slices(&mut self, slices: Vec<Slice>) {
        let Some(filter) = self.scope.filter.clone() else {
            let wanted = slices
                .into_iter()
                .flat_map(|slice| sift(slice, &self.scope.keys));
            self.queue.extend(wanted.map(ReadItem::Events));
            return;
        };
        let keep = |event: &BlockEvent<'_>| {
            event.key().is_none() || event.with_payload(|payload| filter(event.name(), payload))
        };
        for slice in slices {
            let wanted = sift(slice, &self.scope.keys)
                .into_iter()
                .flat_map(|slice| slice.filter(keep));
            self.queue.extend(wanted.map(ReadItem::Events));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for key in &self.keys {
            self.log.tail.keys().leave(key, &self.waiter);
        }
        if self.keys.is_empty() {
            self.log.tail.leave(&self.waiter);
        }
        self.log.count_subscriber_gone();
    }
}

/// The runs of events that belong to these streams, or all of it when there are none.
fn sift(slice: Slice, keys: &[StreamKey]) -> Vec<Slice> {
    if keys.is_empty() {
        return vec![slice];
    }
    slice.filter(|event| event.key().is_none_or(|key| keys.contains(key.id())))
}
