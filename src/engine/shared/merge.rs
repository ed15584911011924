//! Advances the tail of a shared log in the order of the log. The worker thread or the follower thread does so,
//! whichever has the next events first. While no reader reads everything, the follower adds nothing, and memory holds
//! only the events appended by this process. The state of the streams is then rebuilt before a reader sees it.

use std::{collections::VecDeque, time::Duration};

use crate::{
    engine::{
        encoder::{IndexRebuild, SharedObserver, Writers},
        log::{Log, WARM_UP_EVENTS_MAX},
        warm_up,
    },
    error::Error,
    log::{
        batch::{Batch, StoredEvent},
        tail::Evictions,
    },
    store::PageLimit,
    util::{
        block_on::block_on,
        sync::{Instant, atomic::Ordering, catch_panic, lock},
    },
    wire::id::Sequence,
};

/// Upper bound on the events of one page that is read while `merging` is locked. A rebuild that misses more events
/// reads them before it locks `merging`.
const LOCKED_EVENTS_MAX: u64 = PageLimit::LARGE.events as u64;

/// A rebuild that has read the events up to the sequence `to`.
struct Rebuild {
    index: Box<dyn IndexRebuild>,
    /// The newest pages, to be put into memory.
    pages: VecDeque<Vec<StoredEvent>>,
    bytes: usize,
    to: u64,
}

impl Rebuild {
    fn take(&mut self, page: Vec<StoredEvent>, bytes_max: usize) {
        self.index.observe(&page);
        self.to = page.last().map_or(self.to, |event| event.sequence.get());
        self.bytes += size(&page);
        self.pages.push_back(page);
        while self.bytes > bytes_max
            && let Some(page) = self.pages.pop_front()
        {
            self.bytes -= size(&page);
        }
    }
}

fn size(page: &[StoredEvent]) -> usize {
    page.iter().map(|event| event.payload.len()).sum()
}

impl Log {
    /// Returns whether the index has the state of all streams as of the moment when the first reader of everything
    /// came. It always has if the log is not shared.
    pub(crate) fn has_caught_up(&self) -> bool {
        !self.is_shared() || (self.is_index_complete() && self.demand().has_caught_up())
    }

    /// Returns `false` if events were skipped, or an error occurred, since the last rebuild.
    pub(crate) fn is_index_complete(&self) -> bool {
        self.merge.is_index_complete.load(Ordering::Acquire)
    }

    fn mark_incomplete(&self) {
        self.merge.is_index_complete.store(false, Ordering::Release);
    }

    /// Requests a rebuild. Called after an error.
    pub(crate) fn invalidate(&self) {
        let _advancing = lock(&self.merge.merging);
        self.mark_incomplete();
    }

    /// Adds a batch that this log appended. If a reader reads everything and the index is complete, first adds the
    /// foreign events before it, unless more than [`WARM_UP_EVENTS_MAX`] are missing. Calls `on_taken(true)` if this
    /// thread inserted the whole batch, or `on_taken(false)` if the follower had read its first events from the store.
    pub(crate) fn merge_own(
        &self,
        first: u64,
        batch: &Batch,
        observer: &SharedObserver,
        on_taken: impl FnOnce(bool),
    ) {
        let _advancing = lock(&self.merge.merging);
        if self.demand().is_all_wanted() && self.is_index_complete() {
            while self.merge_page_before(first, observer) {}
        }
        let next = self.tail.next();
        if next < first {
            self.mark_incomplete();
        }
        if next <= first {
            self.append_stored(first, batch);
        } else {
            // The follower may have read only a part of the batch. The rest is added from memory, so readers get it
            // even if the store cannot be read now.
            let rest = batch
                .stored_as(first)
                .filter(|event| event.sequence.get() >= next);
            let rest: Vec<StoredEvent> = rest.collect();
            if !rest.is_empty() {
                self.merge_stored(&rest, observer);
            }
        }
        on_taken(next <= first);
    }

    /// Adds one page of the events before `first` from the store. Returns whether there may be more.
    fn merge_page_before(&self, first: u64, observer: &SharedObserver) -> bool {
        let next = self.tail.next();
        let missing = first.saturating_sub(next);
        let Some(shared) = self
            .store
            .shared_log()
            .filter(|_| (1..=WARM_UP_EVENTS_MAX).contains(&missing))
        else {
            return false;
        };
        let limit = PageLimit {
            events: usize::try_from(missing.min(LOCKED_EVENTS_MAX)).unwrap_or(1),
            ..PageLimit::LARGE
        };
        match shared.wait_after(Sequence::new(next - 1), limit, Duration::ZERO) {
            Ok(page) if !page.is_empty() => {
                self.merge_stored(&page, observer);
                self.tail.next() > next
            }
            // Readers get these events from the store later.
            Ok(_) | Err(_) => false,
        }
    }

    /// Adds and publishes events that other processes appended.
    pub(crate) fn merge_foreign(&self, events: &[StoredEvent], observer: &SharedObserver) {
        let _advancing = lock(&self.merge.merging);
        self.merge_stored(events, observer);
        self.tail.publish();
    }

    fn merge_stored(&self, events: &[StoredEvent], observer: &SharedObserver) {
        let next = self.tail.next();
        let known = events.partition_point(|event| event.sequence.get() < next);
        let new = events.get(known..).unwrap_or_default();
        let has_holes = (next..)
            .zip(new)
            .any(|(expected, event)| event.sequence.get() != expected);
        if has_holes {
            // The store trimmed the missing events before this process read them.
            self.mark_incomplete();
        }
        if catch_panic(|| observer.observe(new)).is_none() {
            // Readers must not wait for the streams' state: it is rebuilt later.
            self.mark_incomplete();
        }
        self.append_events(new);
    }

    fn append_events(&self, events: &[StoredEvent]) {
        self.tail
            .append_stored(|sequence| self.id(sequence).epoch(), events, Instant::now());
    }

    /// Calls `forget` with the evictions from memory, while no other thread advances the tail.
    pub(crate) fn forget_evicted(&self, forget: impl FnOnce(&Evictions)) {
        let _advancing = lock(&self.merge.merging);
        let mut evictions = self.tail.take_evictions();
        if !self.is_in_memory() {
            // The store still has these events, and counts its own evictions.
            evictions.shortened = Vec::new();
        }
        forget(&evictions);
    }

    /// Rebuilds the state of the streams from the newest events of the store, whose head is `head`. Then the tail
    /// continues after these events.
    pub(crate) fn catch_up(&self, head: u64, observer: &SharedObserver) -> Result<(), Error> {
        let begin = (head + 1).saturating_sub(WARM_UP_EVENTS_MAX);
        let from = begin.max(self.store.oldest().get()).max(1);
        let mut rebuild = Rebuild {
            index: observer.begin_rebuild(from, Writers::Several),
            pages: VecDeque::new(),
            bytes: 0,
            to: from - 1,
        };
        let open = observer.open_streams(from, warm_up::STREAMS_MAX);
        warm_up::read_earlier(self, from, &open, &mut *rebuild.index)?;
        let mut to = head;
        loop {
            while rebuild.to < to {
                self.rebuild_page(&mut rebuild, to)?;
            }
            match self.commit_rebuild(rebuild)? {
                None => return Ok(()),
                Some(behind) => rebuild = behind,
            }
            to = self.tail.next() - 1;
        }
    }

    fn rebuild_page(&self, rebuild: &mut Rebuild, to: u64) -> Result<(), Error> {
        let page = block_on(
            self.store
                .read_after(Sequence::new(rebuild.to), PageLimit::LARGE),
        )?;
        if page.is_empty() {
            // The sequences up to `to` have no events, or their events were removed.
            rebuild.to = to;
        } else {
            rebuild.take(page, self.tail.retention().bytes_max());
        }
        Ok(())
    }

    /// Commits the rebuild together with the events appended here meanwhile. If these are too many, returns the rebuild
    /// instead, so that `merging` is not locked for long.
    fn commit_rebuild(&self, mut rebuild: Rebuild) -> Result<Option<Rebuild>, Error> {
        let _advancing = lock(&self.merge.merging);
        let head = self.tail.next() - 1;
        if rebuild.to + LOCKED_EVENTS_MAX < head {
            return Ok(Some(rebuild));
        }
        while rebuild.to < head {
            self.rebuild_page(&mut rebuild, head)?;
        }
        for page in &rebuild.pages {
            self.append_events(page);
        }
        self.tail.skip_to(rebuild.to + 1);
        drop(self.tail.take_evictions());
        rebuild.index.commit();
        self.merge.is_index_complete.store(true, Ordering::Release);
        self.tail.publish();
        self.tail.wake_everyone();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::util::sync::Mutex;
    use crate::{
        engine::encoder::LogObserver,
        ingest::buffer::IngestBuffer,
        log::{
            event::{Pinning, StreamKey},
            tail::TailRead,
        },
        store::{NullEventStore, kind::StoreKind, validated::PayloadFormat},
    };

    struct Panicking;

    impl LogObserver for Panicking {
        fn observe(&self, _events: &[StoredEvent]) {
            panic!("the observer of a test panics");
        }

        fn open_streams(&self, _before: u64, _limit: usize) -> Vec<StreamKey> {
            Vec::new()
        }

        fn begin_rebuild(&self, _from: u64, _writers: Writers) -> Box<dyn IndexRebuild> {
            panic!("the observer of a test panics");
        }
    }

    /// Records the events that it observes.
    #[derive(Default)]
    struct Counting(Mutex<Vec<u64>>);

    impl LogObserver for Counting {
        fn observe(&self, events: &[StoredEvent]) {
            let seen = events.iter().map(|event| event.sequence.get());
            lock(&self.0).extend(seen);
        }

        fn open_streams(&self, _before: u64, _limit: usize) -> Vec<StreamKey> {
            Vec::new()
        }

        fn begin_rebuild(&self, _from: u64, _writers: Writers) -> Box<dyn IndexRebuild> {
            panic!("this test rebuilds nothing")
        }
    }

    #[test]
    fn the_rest_of_a_half_followed_batch_is_added_without_the_store() {
        let buffer = Arc::new(IngestBuffer::new(1 << 16, 64));
        let log = Log::open(
            StoreKind::new(NullEventStore::new()),
            PayloadFormat::TEXT,
            buffer,
            None,
        )
        .unwrap();
        log.merge.is_index_complete.store(true, Ordering::Release);
        let mut batch = Batch::default();
        for text in ["one", "two", "three"] {
            batch.push("note", None, Pinning::None, |out| {
                out.extend_from_slice(text.as_bytes());
            });
        }
        let counting = Arc::new(Counting::default());
        let observer: SharedObserver = Arc::clone(&counting) as SharedObserver;
        let seen: Vec<StoredEvent> = batch.stored_as(1).take(1).collect();
        log.merge_foreign(&seen, &observer);
        log.merge_own(1, &batch, &observer, |is_new| assert!(!is_new));
        assert_eq!(log.tail.next(), 4);
        log.merge_own(1, &batch, &observer, |is_new| assert!(!is_new));
        assert_eq!((log.tail.next(), log.is_index_complete()), (4, true));
        assert_eq!(*lock(&counting.0), [1, 2, 3]);
    }

    #[test]
    fn readers_get_events_that_panic_the_observer_and_the_index_is_incomplete() {
        let buffer = Arc::new(IngestBuffer::new(1 << 16, 64));
        let log = Log::open(
            StoreKind::new(NullEventStore::new()),
            PayloadFormat::TEXT,
            buffer,
            None,
        )
        .unwrap();
        log.merge.is_index_complete.store(true, Ordering::Release);
        let event = StoredEvent {
            sequence: Sequence::new(1),
            name: "note".to_owned(),
            key: None,
            pin: Pinning::None,
            payload: "text".into(),
        };
        let observer: SharedObserver = Arc::new(Panicking);
        log.merge_foreign(&[event], &observer);
        assert!(matches!(log.tail.read_after(0), TailRead::Events(_)));
        assert!(!log.is_index_complete());
    }
}
