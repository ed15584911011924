//! [`Reader`]: the position of one reader in the log, and its next step. Replay and live delivery are the same read. A
//! reader queues at most one block or page. It runs on the task that polls it, holds no lock while it waits, and needs
//! no runtime.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    engine::log::{Log, RemovedBefore},
    error::Error,
    log::{
        batch::StoredEvent,
        block::{BlockEvent, Slice},
        event::StreamKey,
        tail::TailRead,
        waker::WakeFlag,
    },
    reader::{
        page::PageQuery,
        scope::{ReadItem, Scope},
    },
    util::sync::Instant,
    wire::{
        control,
        id::{ResumePoint, Sequence},
    },
};

/// Upper bound on the blocks and pages that are searched without a match before the reader yields to other tasks.
pub(super) const BLOCKS_PER_TURN: usize = 16;

/// The store's answer, which some readers need before they begin.
#[derive(Debug, Default)]
pub(super) struct HeadAnswer {
    /// The newest event of a shared store.
    pub(super) head: Sequence,
    /// The open events that belong to every stream.
    pub(super) open_global_events: Vec<StoredEvent>,
    /// The number of events that retention has removed from the reader's streams. `None` if unknown.
    pub(super) evicted: Option<RemovedBefore>,
}

/// The resume point of a reader, and the store's answer to its query.
pub(super) type HeadReply = (ResumePoint, Result<HeadAnswer, Error>);

pub(super) type HeadQuery = Pin<Box<dyn Future<Output = HeadReply> + Send>>;

pub(crate) struct Reader {
    pub(super) log: Arc<Log>,
    pub(super) scope: Scope,
    pub(super) wake_flag: Arc<WakeFlag>,
    pub(super) after: u64,
    /// Missing events up to here are not reported as missed: they were removed before this reader came, or the reader
    /// already got their gap.
    pub(super) unreported_until: u64,
    /// Whether the reader's streams are known to exist without a look into memory: the store returned one of their
    /// events, or the reader resumes in a shared log.
    pub(super) found_in_store: bool,
    /// Items to hand out: the events of at most one block or page, with the notices between them.
    pub(super) queue: VecDeque<ReadItem>,
    pub(super) page: Option<PageQuery>,
    /// The prefetch of the page after this sequence. The store reads it while the client handles the previous page.
    pub(super) next_page: Option<(u64, PageQuery)>,
    /// The query for the head and the number of removed events. Set until the store has answered it.
    pub(super) head_query: Option<HeadQuery>,
    /// The start of the wait for the store, and the wake flag of this wait. Events do not raise this flag.
    pub(super) store_wait: Option<(Instant, Arc<WakeFlag>)>,
    /// Whether the store may hold more events for this reader.
    pub(super) wants_page: bool,
    /// Whether the last poll returned only to let other tasks run.
    pub(super) is_yielding: bool,
    pub(super) degradations: u64,
    pub(super) recoveries: u64,
    /// Set while this reader cannot read a shared store. The value is the number of wake-up rounds of blocked readers
    /// when this reader joined them.
    pub(super) blocked_since: Option<u64>,
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
        let wake_flag = Arc::new(WakeFlag::default());
        // Registered before the log is read, so no event falls between that read and the first wait.
        for key in &scope.keys {
            log.join_stream(key, &wake_flag);
        }
        if scope.keys.is_empty() {
            log.join(&wake_flag, scope.wake_group.as_deref());
        }
        log.readers().register();
        let mut reader = Self {
            log: Arc::clone(log),
            scope,
            wake_flag,
            after: 0,
            unreported_until: 0,
            found_in_store: false,
            queue: VecDeque::new(),
            page: None,
            next_page: None,
            head_query: None,
            store_wait: None,
            wants_page: true,
            is_yielding: false,
            degradations: log.degradations(),
            recoveries: log.recoveries(),
            blocked_since: None,
        };
        if log.is_shared() || reader.must_ask_for_evicted(resume) {
            reader.head_query = Some(Self::query_head(log, resume, &reader.scope));
        } else {
            // If memory only caches a store, removals from memory are no loss.
            let is_counted = log.is_in_memory();
            let evicted = is_counted.then(|| log.tail.evicted_events(&reader.scope.keys));
            let removed = evicted.map(|(events, oldest)| RemovedBefore {
                events: Some(events),
                oldest,
            });
            reader.begin_in_memory(resume, removed);
        }
        reader
    }

    /// Returns the last sequence that was read, including events that the filter rejected.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// Returns whether everything up to this sequence was read and handed out.
    pub(crate) fn has_delivered(&self, sequence: u64) -> bool {
        self.after >= sequence && self.queue.is_empty()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Returns whether the streams of this reader are known to exist, or `None` for a reader of all streams.
    pub(crate) fn known(&self) -> Option<bool> {
        if self.scope.keys.is_empty() {
            None
        } else {
            Some(self.found_in_store || self.scope.keys.iter().any(|key| self.log.tail.knows(key)))
        }
    }

    /// Returns whether the reader waits for its store, or has yielded to other tasks. Meanwhile, it is unknown
    /// whether more events follow.
    pub(crate) fn is_paging(&self) -> bool {
        self.page.is_some() || self.head_query.is_some() || self.is_yielding
    }

    pub(crate) fn is_filtered(&self) -> bool {
        !self.scope.keys.is_empty() || self.scope.filter.is_some()
    }

    /// Returns the next item. Returns `None` if the log is closed, or if nothing more is ready and everything up to
    /// `head` was read. In a shared log, it also returns `None` before `head` if nothing more is ready. If everything
    /// is in memory, this never waits, so a caller that reads in a loop must yield to other tasks.
    pub(crate) async fn next_below(&mut self, head: u64) -> Option<ReadItem> {
        // Pending at the head means that there may be no more items. Pending before the head means that the store still
        // reads.
        let item = std::future::poll_fn(|cx| match self.poll_next(cx) {
            Poll::Ready(item) => Poll::Ready(Some(item)),
            Poll::Pending if !self.is_paging() && (self.log.is_shared() || self.after >= head) => {
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        });
        match item.await? {
            ReadItem::Closed => None,
            item => Some(item),
        }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ReadItem> {
        let mut turns = 0;
        self.is_yielding = false;
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Poll::Ready(item);
            }
            if let Some(head_query) = &mut self.head_query {
                let Poll::Ready(answer) = head_query.as_mut().poll(cx) else {
                    return self.poll_store_wait(cx);
                };
                self.end_store_wait();
                self.head_query = None;
                self.begin_after_reply(answer);
                continue;
            }
            if let Some(page) = &mut self.page {
                let Poll::Ready(result) = page.as_mut().poll(cx) else {
                    return self.poll_store_wait(cx);
                };
                self.end_store_wait();
                self.page = None;
                self.read_ahead(&result, cx);
                self.accept_page(result);
                if self.must_yield(&mut turns, cx) {
                    return Poll::Pending;
                }
                continue;
            }
            let notified = self.wake_flag.poll_notified(cx).is_ready();
            self.wants_page |= notified;
            if self.notice_degraded() {
                continue;
            }
            // Loaded before the events are read: events before a recovery must be handed out before it is reported.
            let recoveries = self.log.recoveries();
            if self.advance() {
                if self.must_yield(&mut turns, cx) {
                    return Poll::Pending;
                }
                continue;
            }
            if self.notice_recovered(recoveries) || self.notice_unblocked() {
                continue;
            }
            // The log's closed flag is read before the events are read again, so events from before the close are still
            // handed out.
            if self.log.is_closed() {
                // Also reads the events that raised the wake flag after it was last polled.
                self.wants_page |= self.wake_flag.poll_notified(cx).is_ready();
                if !self.advance() && !self.notice_recovered(self.log.recoveries()) {
                    return Poll::Ready(ReadItem::Closed);
                }
            } else if !notified {
                return Poll::Pending;
            }
        }
    }

    /// Returns whether the reader must yield to other tasks now. If so, its task is woken again at once.
    fn must_yield(&mut self, turns: &mut usize, cx: &Context<'_>) -> bool {
        *turns += 1;
        self.is_yielding = *turns >= BLOCKS_PER_TURN && self.queue.is_empty();
        if self.is_yielding {
            cx.waker().wake_by_ref();
        }
        self.is_yielding
    }

    /// Advances by one step. Returns `false` if there is nothing to read now.
    pub(super) fn advance(&mut self) -> bool {
        if self.is_paged() {
            if self.wants_page {
                self.page = Some(self.read_page(self.after));
            }
            return self.wants_page;
        }
        let read = if self.scope.keys.is_empty() {
            self.log.tail.read_after(self.after)
        } else {
            self.log
                .tail
                .read_streams_after(&self.scope.keys, self.after)
        };
        match read {
            TailRead::Events(slices) => {
                self.accept(slices);
                true
            }
            TailRead::Evicted(oldest) => {
                let may_read = self.wants_page || !self.log.is_shared();
                if may_read {
                    self.read_evicted(oldest);
                }
                may_read
            }
            TailRead::Nothing(upto) => {
                // The position advances without events, too, so the reader of a quiet stream does not resume from a
                // very old id.
                self.after = self.after.max(upto);
                false
            }
        }
    }

    pub(super) fn accept(&mut self, slices: Vec<Slice>) {
        if let Some(last) = slices.last() {
            self.after = last.last();
        }
        self.queue_slices(slices);
    }

    pub(super) fn queue_slices(&mut self, slices: Vec<Slice>) {
        let Some(filter) = self.scope.filter.clone() else {
            let wanted = slices
                .into_iter()
                .flat_map(|slice| filter_streams(slice, &self.scope.keys));
            self.queue.extend(wanted.map(ReadItem::Events));
            return;
        };
        let keep = |event: &BlockEvent<'_>| {
            event.is_global()
                || event.with_payload(|payload| {
                    filter(event.name(), payload) || control::is_damaged(event.name(), payload)
                })
        };
        for slice in slices {
            let wanted = filter_streams(slice, &self.scope.keys)
                .into_iter()
                .flat_map(|slice| slice.filter(keep));
            self.queue.extend(wanted.map(ReadItem::Events));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for key in &self.scope.keys {
            self.log.leave_stream(key, &self.wake_flag);
        }
        if self.scope.keys.is_empty() {
            self.log
                .leave(&self.wake_flag, self.scope.wake_group.as_deref());
        }
        self.log.readers().unregister();
        self.end_store_wait();
        if self.blocked_since.is_some() {
            self.log.blocked_readers().leave(&self.wake_flag);
        }
    }
}

/// Returns the runs of events that belong to these streams or to every stream. Returns the whole slice if `keys` is
/// empty.
pub(super) fn filter_streams(slice: Slice, keys: &[StreamKey]) -> Vec<Slice> {
    if keys.is_empty() {
        return vec![slice];
    }
    slice.filter(|event| event.key().is_none_or(|key| keys.contains(&key)))
}
