//! Reads pages from the store: events that are no longer in memory, and in a shared log all events of a stream. The
//! reader's task polls the store's future; the store does the I/O on its own threads.

use std::{
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    error::Error,
    log::{
        batch::StoredEvent,
        block::{BlockBuilder, Slice},
        event::Pinning,
        waker::WakeFlag,
    },
    reader::{
        cursor::Reader,
        page::{Page, PageQuery},
        scope::ReadItem,
    },
    store::PageLimit,
    util::sync::Instant,
    wire::id::Sequence,
};

impl Reader {
    /// Returns whether the reader reads its streams only from the store. In a shared log, memory has only the streams
    /// that this process follows.
    pub(super) fn is_paged(&self) -> bool {
        !self.scope.keys.is_empty() && self.log.is_shared()
    }

    /// Handles the events before `oldest`, which are not in memory: reads a page of the store. If memory is the only
    /// store and lacks them, queues a gap.
    pub(super) fn read_evicted(&mut self, oldest: u64) {
        let is_store = !self.log.is_in_memory();
        if is_store || self.log.store.oldest().get() < oldest {
            let next_page = self
                .next_page
                .take()
                .filter(|(after, _)| *after == self.after);
            self.page =
                Some(next_page.map_or_else(|| self.read_page(self.after), |(_, page)| page));
        } else {
            self.skip_evicted(u64::MAX);
        }
    }

    pub(super) fn read_page(&self, after: u64) -> PageQuery {
        let log = Arc::clone(&self.log);
        let store = Arc::clone(&self.log.store);
        let after = Sequence::new(after);
        let keys = self.scope.keys.clone();
        // Determined before the store is read: all events before `bound` are in the store by now, or were removed from
        // it.
        let (oldest_before, bound) = (store.oldest().get(), self.first_in_memory());
        Box::pin(async move {
            let limit = PageLimit::default();
            let events = if keys.is_empty() {
                store.read_after(after, limit).await?
            } else {
                store.read_streams_after(&keys, after, limit).await?
            };
            let oldest_after = store.oldest().get();
            // Called after the read, so the count includes the events that the page lacks.
            let is_behind = !keys.is_empty() && after.get() + 1 < oldest_after;
            let is_whole = is_behind && log.has_evicted_nothing(&keys).await;
            Ok(Page {
                events,
                oldest_before,
                oldest_after,
                bound,
                is_whole,
            })
        })
    }

    /// Returns the sequence from which on events are in memory or not visible yet.
    fn first_in_memory(&self) -> u64 {
        let tail = &self.log.tail;
        tail.stats().oldest.min(tail.published() + 1)
    }

    /// For a reader of all streams, starts the read of the next page unless memory has these events. Polls the future
    /// once, because a store starts the read only at the first poll.
    pub(super) fn read_ahead(&mut self, page: &Result<Page, Error>, cx: &mut Context<'_>) {
        let Ok(Some(last)) = page.as_ref().map(|page| page.events.last()) else {
            return;
        };
        let after = last.sequence.get();
        if self.scope.keys.is_empty() && after + 1 < self.log.tail.stats().oldest {
            let mut next = self.read_page(after);
            if let Poll::Ready(result) = next.as_mut().poll(cx) {
                next = Box::pin(ready(result));
            }
            self.next_page = Some((after, next));
        }
    }

    pub(super) fn accept_page(&mut self, page: Result<Page, Error>) {
        if self.is_paged() {
            return self.accept_paged(page);
        }
        if let (Err(error), true) = (&page, self.log.is_shared()) {
            return self.wait_for_store(error);
        }
        self.unblock();
        match page {
            Ok(page) => self.accept_stored(&page),
            Err(error) => self.skip_unread(&error, self.first_in_memory() - 1),
        }
    }

    /// Accepts a page of a reader that reads only from the store. The page may end anywhere.
    pub(super) fn accept_paged(&mut self, page: Result<Page, Error>) {
        if page.is_ok() {
            self.unblock();
        }
        match page {
            // A later event raises the wake flag, and the reader reads again. Only then does it report events that the
            // store has evicted in the meantime, because only then is it known whether they belonged to these streams.
            Ok(Page { events, .. }) if events.is_empty() => self.wants_page = false,
            Ok(page) => {
                let last = page.events.last().map_or(0, |event| event.sequence.get());
                let bound = last + 1;
                self.accept_stored(&Page { bound, ..page });
            }
            Err(error) => self.wait_for_store(&error),
        }
    }

    /// Waits until a shared store works again. The reader is then woken and reads again.
    pub(super) fn wait_for_store(&mut self, error: &Error) {
        self.wants_page = false;
        self.block(error);
    }

    /// Accepts the events of a page that are before its bound. If events are missing among them, gaps are queued.
    ///
    /// Invariant: no gap covers an event that this reader gets, except the events that the store keeps beyond
    /// retention.
    fn accept_stored(&mut self, page: &Page) {
        let bound = page.bound;
        let is_keyed = !self.scope.keys.is_empty();
        let mut wanted = page.between(self.after + 1, bound);
        let first = |wanted: &[StoredEvent]| wanted.first().map(|event| event.sequence.get());
        let oldest = page.oldest_before.min(bound);
        let next = self.after + 1;
        if next < oldest && (is_keyed || first(wanted) != Some(next)) {
            let kept = page.between(next, oldest);
            self.accept_pinned(kept, oldest, wanted, page.is_whole);
            wanted = page.between(self.after + 1, bound);
            if self.after + 1 < oldest || wanted.is_empty() {
                return;
            }
        }
        if is_keyed {
            let oldest = page.oldest_after.min(bound);
            let wanted = if page.is_whole {
                Some(wanted)
            } else {
                self.accept_removed_since(wanted, oldest)
            };
            if let Some(wanted) = wanted {
                self.accept_stream_events(wanted, bound);
            }
            return;
        }
        let first = first(wanted).unwrap_or(bound);
        if self.after + 1 < first {
            self.skip_evicted(first - 1);
            if self.after + 1 < first || wanted.is_empty() {
                return;
            }
        }
        let holes = wanted
            .iter()
            .zip(first..)
            .position(|(event, next)| event.sequence.get() != next);
        let run = wanted.get(..holes.unwrap_or(wanted.len()));
        self.accept_run(run.unwrap_or_default(), bound);
    }

    /// Accepts the events of single streams before `oldest`. While the store read the page, it may have removed these
    /// events, or begun to keep them beyond retention. Returns the events after them, unless another page must be read
    /// first.
    ///
    /// A store reads a page at one moment and removes the oldest events of a stream first. So events can be missing
    /// only before the first event of the page that is within retention. (Opening events may be kept beyond it.) With
    /// several streams, the store may have removed events of one stream and kept those of another.
    fn accept_removed_since<'a>(
        &mut self,
        wanted: &'a [StoredEvent],
        oldest: u64,
    ) -> Option<&'a [StoredEvent]> {
        if self.after + 1 >= oldest {
            return Some(wanted);
        }
        let found = wanted.partition_point(|event| event.sequence.get() < oldest);
        let is_one = self.scope.keys.len() == 1;
        let is_surely_retained =
            |event: &StoredEvent| is_one && !matches!(event.pin, Pinning::Open(_));
        let (found, rest) = wanted.split_at(found);
        let retained = found.iter().position(is_surely_retained);
        let unsure = retained.map_or(found, |place| found.get(..=place).unwrap_or_default());
        for event in unsure {
            self.skip_removed(event.sequence.get() - 1);
            self.queue_stored(std::slice::from_ref(event));
            self.after = event.sequence.get();
        }
        if retained.is_some() {
            return wanted.get(unsure.len()..).filter(|rest| !rest.is_empty());
        }
        // If every event of the page is before `oldest`, more of them may follow.
        if found.is_empty() || !rest.is_empty() {
            self.skip_removed(oldest - 1);
        }
        Some(rest).filter(|rest| !rest.is_empty())
    }

    /// Moves past the events up to `to`, which the page lacks.
    fn skip_removed(&mut self, to: u64) {
        while self.after < to {
            self.skip_evicted(to);
        }
    }

    /// Accepts events of single streams. Missing sequences between them belong to other streams, unless the store had
    /// an outage.
    pub(super) fn accept_stream_events(&mut self, wanted: &[StoredEvent], bound: u64) {
        let next = self.after + 1;
        let to = wanted
            .last()
            .map_or(bound - 1, |event| event.sequence.get());
        let Some((from, to)) = self.log.first_outage(next, to) else {
            return self.accept_run(wanted, bound);
        };
        let before = wanted.partition_point(|event| event.sequence.get() < from);
        if next < from {
            return self.accept_run(wanted.get(..before).unwrap_or_default(), from);
        }
        // A store that exceeded its time-out may still have kept a part of the batch.
        let kept = wanted.partition_point(|event| event.sequence.get() <= to);
        let kept = wanted.get(..kept).unwrap_or_default();
        let lost = self.log.tail.lost(&self.scope.keys, from - 1, to);
        let lost = lost.filter(|_| self.scope.filter.is_none());
        self.report_gap(to, lost.map(|lost| lost.saturating_sub(kept.len() as u64)));
        self.accept_run(kept, to + 1);
        self.after = to;
    }

    /// Accepts events of a page between which no event of this reader is missing.
    pub(super) fn accept_run(&mut self, run: &[StoredEvent], bound: u64) {
        if run.is_empty() {
            // The store has no more events of this stream before `bound`; later events are in memory.
            self.after = self.after.max(bound - 1);
        } else {
            let slices = self.build_block(run);
            self.accept(slices);
        }
    }

    pub(super) fn build_block(&mut self, events: &[StoredEvent]) -> Vec<Slice> {
        self.found_in_store |= events.iter().any(|event| event.key.is_some());
        let mut builder = BlockBuilder::with_capacity(64 * 1024, events.len());
        let is_filtered = self.is_filtered();
        for event in events {
            let epoch = self.log.id(event.sequence.get()).epoch();
            builder.push_stored(epoch, event, event.key.filter(|_| is_filtered));
        }
        vec![Slice::whole(Arc::new(builder.build(Instant::now())))]
    }

    /// Waits for the store. Returns `Closed` if the log is closed and the wait has lasted at least one append
    /// time-out.
    pub(super) fn poll_store_wait(&mut self, cx: &Context<'_>) -> Poll<ReadItem> {
        let (since, flag) = self.store_wait.get_or_insert_with(|| {
            let flag = Arc::new(WakeFlag::default());
            self.log.readers().wait_for_store(&flag);
            (Instant::now(), flag)
        });
        // Registered before the log is checked, so that no wake-up is lost.
        let notified = flag.poll_notified(cx).is_ready();
        if notified && self.log.is_closed() && since.elapsed() >= self.log.append_timeout() {
            return Poll::Ready(ReadItem::Closed);
        }
        Poll::Pending
    }

    pub(super) fn end_store_wait(&mut self) {
        if let Some((_, flag)) = self.store_wait.take() {
            self.log.readers().stop_waiting(&flag);
        }
    }
}
