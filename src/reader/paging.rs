//! Reads pages from the store: events that are no longer in memory, and all events of a stream in a shared log. The
//! reader's task polls the store's future; the store does the I/O on threads of its own.

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
        waker::WakeFlag,
    },
    reader::{
        cursor::{PageQuery, Reader},
        scope::ReadItem,
    },
    store::PageLimit,
    util::sync::Instant,
    wire::id::Sequence,
};

impl Reader {
    /// Returns whether the reader reads its streams from the store alone, because memory has only the streams that this
    /// process follows.
    pub(super) fn is_paged(&self) -> bool {
        !self.scope.keys.is_empty() && self.log.is_shared()
    }

    /// Moves past the events before `oldest`, which are not in memory: reads them from the store if it has them, else
    /// queues a gap.
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
        let store = Arc::clone(&self.log.store);
        let after = Sequence::new(after);
        let keys = self.scope.keys.clone();
        Box::pin(async move {
            if keys.is_empty() {
                store.read_after(after, PageLimit::default()).await
            } else {
                let limit = PageLimit::default();
                store.read_streams_after(&keys, after, limit).await
            }
        })
    }

    /// Starts the read of the next page, unless memory has it. It polls the future once, because a store does nothing
    /// before the first poll.
    pub(super) fn read_ahead(
        &mut self,
        page: &Result<Vec<StoredEvent>, Error>,
        cx: &mut Context<'_>,
    ) {
        let Ok(Some(last)) = page.as_ref().map(|events| events.last()) else {
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

    pub(super) fn accept_page(&mut self, page: Result<Vec<StoredEvent>, Error>) {
        if self.is_paged() {
            return self.accept_paged(page);
        }
        if let (Err(error), true) = (&page, self.log.is_shared()) {
            return self.wait_for_store(error);
        }
        self.unblock();
        // From this bound on, events are in memory or not visible yet.
        let bound = self
            .log
            .tail
            .stats()
            .oldest
            .min(self.log.tail.published() + 1);
        match page {
            Ok(events) => self.accept_stored(&events, bound),
            Err(error) => self.skip_unread(&error, bound - 1),
        }
    }

    /// Accepts a page of streams that are read from the store alone, wherever the page ends.
    pub(super) fn accept_paged(&mut self, page: Result<Vec<StoredEvent>, Error>) {
        if page.is_ok() {
            self.unblock();
        }
        match page {
            // A later event raises the wake flag. Events that the store evicts until then are reported with that event:
            // before it arrives, it is unknown whether any of them belonged to these streams.
            Ok(events) if events.is_empty() => self.wants_page = false,
            Ok(events) => {
                let last = events.last().map_or(0, |event| event.sequence.get());
                self.accept_stored(&events, last + 1);
            }
            Err(error) => self.wait_for_store(&error),
        }
    }

    /// Waits until a shared store works again, which wakes the reader to read it again. No event is lost meanwhile.
    pub(super) fn wait_for_store(&mut self, error: &Error) {
        self.wants_page = false;
        self.block(error);
    }

    /// Accepts the events of a page that are before `bound`. If events are missing among them, a gap is queued, because
    /// the store may have removed events since the read began.
    pub(super) fn accept_stored(&mut self, events: &[StoredEvent], bound: u64) {
        let next = self.after + 1;
        let oldest = self.log.store.oldest().get().min(bound);
        let places = |from, to| {
            let from = events.partition_point(|event| event.sequence.get() < from);
            let to = events.partition_point(|event| event.sequence.get() < to);
            events.get(from..to).unwrap_or_default()
        };
        let wanted = places(next, bound);
        let first = wanted.first().map_or(bound, |event| event.sequence.get());
        // An event in the page is not lost, even if the store has removed it since.
        if next < oldest && (next < first || !self.scope.keys.is_empty()) {
            return self.accept_pinned(places(next, oldest), oldest, wanted);
        }
        if !self.scope.keys.is_empty() {
            return self.accept_stream_events(wanted, bound);
        }
        if next < first {
            return self.skip_evicted(first - 1);
        }
        let holes = wanted
            .iter()
            .zip(next..)
            .position(|(event, next)| event.sequence.get() != next);
        let run = wanted.get(..holes.unwrap_or(wanted.len()));
        self.accept_run(run.unwrap_or_default(), bound);
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

    /// Accepts consecutive events of a page. No event of this reader is missing between them.
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

    /// Waits for the store while the log is open, and for a bounded time after that.
    pub(super) fn poll_store_wait(&mut self, cx: &Context<'_>) -> Poll<ReadItem> {
        let (since, flag) = self.store_wait.get_or_insert_with(|| {
            let flag = Arc::new(WakeFlag::default());
            self.log.readers().wait_for_store(&flag);
            (Instant::now(), flag)
        });
        // Registered before the look at the log, so that no wake-up is lost.
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
