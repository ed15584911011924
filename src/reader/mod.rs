//! A subscriber's place in the log. It owns no queue: replay and live are the same read, and what a slow client
//! costs is this place. It runs on whichever task polls it, holds no lock while it waits, and needs no runtime.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the layers above alone use parts of it")
)]

pub(crate) mod subscription;

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    engine::log::{Log, ResumePosition},
    error::Error,
    log::{
        batch::StoredEvent,
        block::{BlockBuilder, BlockEvent, Slice},
        event::StreamKey,
        tail::TailRead,
        waker::WakeFlag,
    },
    store::PageLimit,
    util::sync::Instant,
    wire::{
        control::Gap,
        id::{ResumePoint, Sequence},
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
    /// Up to here, what is missing was told before, though it is read again.
    pub(crate) gaps_reported_until: Option<u64>,
    pub(crate) open_global_events: OpenGlobalEvents,
}

/// When a reader gets the events, before its place, that belong to every stream and that later ones need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OpenGlobalEvents {
    /// When it begins at the head: who resumes has them.
    #[default]
    AtHead,
    Always,
}

impl OpenGlobalEvents {
    fn is_wanted(self, resume: ResumePoint) -> bool {
        resume == ResumePoint::Live || self != Self::AtHead
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("keys", &self.keys)
            .field("filtered", &self.filter.is_some())
            .field("gaps_reported_until", &self.gaps_reported_until)
            .field("open_global_events", &self.open_global_events)
            .finish()
    }
}

/// The next thing that a reader gets.
#[derive(Debug)]
pub(crate) enum ReadItem {
    Events(Slice),
    /// Events without which later ones make no sense, for a reader that begins at the head: not part of its place.
    OpenGlobal(Slice),
    Gap(Gap),
    /// The store began to fail.
    Degraded,
    Closed,
}

/// Where a reader of a shared store wants to go on, and where that store ends, with what stands at its end.
type HeadReply = (ResumePoint, Result<(Sequence, Vec<StoredEvent>), Error>);

type HeadQuery = Pin<Box<dyn Future<Output = HeadReply> + Send>>;

type PageQuery = Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>, Error>> + Send>>;

pub(crate) struct Reader {
    log: Arc<Log>,
    scope: Scope,
    wake_flag: Arc<WakeFlag>,
    after: u64,
    /// What is missing up to here was gone before this reader came, so it does not count as missed.
    unreported_until: u64,
    /// Whether an event of its streams came from the store, which may know streams that memory does not.
    found_in_store: bool,
    /// Never more than one block, or one page of events kept beyond retention.
    queue: VecDeque<ReadItem>,
    page: Option<PageQuery>,
    /// The page after this sequence, which the store reads while the client takes the one before.
    next_page: Option<(u64, PageQuery)>,
    /// A reader of a shared store begins when that has told where it ends.
    head_query: Option<HeadQuery>,
    /// Since when it waits for the store, with a bell of its own: no event ends this wait.
    store_wait: Option<(Instant, Arc<WakeFlag>)>,
    /// Whether the store may hold more for a reader that reads from it alone.
    wants_page: bool,
    degradations: u64,
    recoveries: u64,
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
        // Joined before the first look at the log, so nothing falls between the look and the first wait.
        for key in &scope.keys {
            log.join_stream(key, &wake_flag);
        }
        if scope.keys.is_empty() {
            log.join(&wake_flag);
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
            degradations: log.degradations(),
            recoveries: log.recoveries(),
        };
        if log.is_shared() {
            reader.head_query = Some(query_head(log, resume, reader.scope.open_global_events));
        } else {
            let start = log.resolve(resume);
            if reader.scope.open_global_events.is_wanted(resume) {
                reader.queue_open_global(log.tail.open_global_events(start.after));
            }
            reader.begin(start);
        }
        reader
    }

    /// The last sequence that was read, wanted or not.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// Whether everything up to this sequence was read and handed out.
    pub(crate) fn has_delivered(&self, sequence: u64) -> bool {
        self.after >= sequence && self.queue.is_empty()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Whether a reader of single streams knows that they exist; `None` for a reader of everything.
    pub(crate) fn known(&self) -> Option<bool> {
        if self.scope.keys.is_empty() {
            None
        } else {
            Some(self.found_in_store || self.scope.keys.iter().any(|key| self.log.tail.knows(key)))
        }
    }

    /// Whether it waits for its store, and so cannot tell yet what there is.
    pub(crate) fn is_paging(&self) -> bool {
        self.page.is_some() || self.head_query.is_some()
    }

    pub(crate) fn is_filtered(&self) -> bool {
        !self.scope.keys.is_empty() || self.scope.filter.is_some()
    }

    /// Returns the next item up to `head`, or `None` when there is nothing more to wait for. If everything is in memory, it
    /// never waits: a caller that reads on must let other tasks run.
    pub(crate) async fn next_below(&mut self, head: u64) -> Option<ReadItem> {
        // At the head there may be nothing more to wait for; before it, a page of the store is on its way.
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
                continue;
            }
            let notified = self.wake_flag.poll_notified(cx).is_ready();
            self.wants_page |= notified;
            if self.notice_degraded() {
                continue;
            }
            // Before the look at the events: those until then come first.
            let recoveries = self.log.recoveries();
            if self.advance() {
                turns += 1;
                if turns >= BLOCKS_PER_TURN && self.queue.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if self.notice_recovered(recoveries) {
                continue;
            }
            // Closed is looked at before the head: what was published before the close is still read.
            if self.log.is_closed() {
                // So is what rang since it was asked.
                self.wants_page |= self.wake_flag.poll_notified(cx).is_ready();
                if !self.advance() && !self.notice_recovered(self.log.recoveries()) {
                    return Poll::Ready(ReadItem::Closed);
                }
            } else if !notified {
                return Poll::Pending;
            }
        }
    }

    /// Waits for the store, as long as the log is open, and a while longer.
    fn poll_store_wait(&mut self, cx: &Context<'_>) -> Poll<ReadItem> {
        let (since, flag) = self.store_wait.get_or_insert_with(|| {
            let flag = Arc::new(WakeFlag::default());
            self.log.readers().wait_for_store(&flag);
            (Instant::now(), flag)
        });
        // Registered before the look at the log, so no ring is lost.
        let notified = flag.poll_notified(cx).is_ready();
        if notified && self.log.is_closed() && since.elapsed() >= self.log.append_timeout() {
            return Poll::Ready(ReadItem::Closed);
        }
        Poll::Pending
    }

    fn end_store_wait(&mut self) {
        if let Some((_, flag)) = self.store_wait.take() {
            self.log.readers().stop_waiting(&flag);
        }
    }

    fn begin(&mut self, start: ResumePosition) {
        self.after = start.after;
        self.unreported_until = self
            .scope
            .gaps_reported_until
            .unwrap_or(start.unreported_until);
        // Who was here before knows the streams, and what the store has of them is not asked for again.
        self.found_in_store |= start.after > 0 && !start.at_head && self.log.is_shared();
        if start.is_unknown {
            // Before what stands anyway.
            self.queue.push_front(ReadItem::Gap(Gap::Epoch));
        }
        if self.log.is_degraded() {
            self.queue.push_back(ReadItem::Degraded);
        }
    }

    fn queue_open_global(&mut self, open_global_events: Vec<Slice>) {
        self.queue
            .extend(open_global_events.into_iter().map(ReadItem::OpenGlobal));
    }

    /// Begins once the store has told where it ends. Where it cannot, what the client says is believed.
    fn begin_after_reply(&mut self, (resume, answer): HeadReply) {
        match answer {
            Ok((head, open_global_events)) => {
                let start = self.log.resolve_below(resume, head.get());
                if !open_global_events.is_empty() {
                    let slices = self.build_block(&open_global_events);
                    self.found_in_store = false;
                    self.queue_open_global(slices);
                }
                self.begin(start);
            }
            Err(error) => {
                self.log.fail_reading(error.with_causes());
                let start = self.log.resolve_below(resume, u64::MAX);
                let after = if start.at_head {
                    self.log.head()
                } else {
                    // What is known here may be less than what the client has.
                    start.after
                };
                self.begin(ResumePosition { after, ..start });
                self.degradations = self.log.degradations();
            }
        }
    }

    /// Whether it reads its streams from the store alone: memory has only what was followed.
    fn is_paged(&self) -> bool {
        !self.scope.keys.is_empty() && self.log.is_shared()
    }

    /// Moves the place by one step; whether it moved or queued something.
    fn advance(&mut self) -> bool {
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
                // The place moves on all the same, so that a quiet stream does not resume from an ancient id.
                self.after = self.after.max(upto);
                false
            }
        }
    }

    /// Crosses the stretch before `oldest`, which is not in memory: from the store if it has it, else with a gap.
    fn read_evicted(&mut self, oldest: u64) {
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

    /// Goes over what is gone, at most up to `limit`: says what was missed, and hands on what is kept of it.
    fn skip_evicted(&mut self, limit: u64) {
        let limit = if self.after < self.unreported_until {
            limit.min(self.unreported_until)
        } else {
            limit
        };
        if self.is_paged() {
            self.report_gap(limit, None);
            self.after = limit;
            return;
        }
        let skipped = self
            .log
            .tail
            .skip_evicted(&self.scope.keys, self.after, limit);
        // How many of them the filter would have passed is not known.
        let lost = if self.scope.filter.is_some() {
            None
        } else {
            skipped.lost
        };
        self.report_gap(skipped.to, lost);
        self.after = skipped.to;
        self.queue_slices(skipped.pinned);
    }

    /// Says what is missing up to `to`, unless it was gone before this reader came.
    fn report_gap(&mut self, to: u64, lost: Option<u64>) {
        if self.after >= self.unreported_until && lost != Some(0) {
            let (from, to) = (self.log.id(self.after + 1), self.log.id(to));
            self.queue
                .push_back(ReadItem::Gap(Gap::Evicted { from, to, lost }));
        }
    }

    /// Queues the news that the store fails, once per stretch, before the events that it did not keep.
    fn notice_degraded(&mut self) -> bool {
        let degradations = self.log.degradations();
        let is_news = degradations > self.degradations;
        self.degradations = degradations;
        if is_news {
            self.queue.push_back(ReadItem::Degraded);
        }
        is_news
    }

    /// Queues the news that the store works again, when no event of the log says so, after the events until then.
    fn notice_recovered(&mut self, recoveries: u64) -> bool {
        let is_news = recoveries > self.recoveries;
        self.recoveries = recoveries;
        if is_news {
            // Said before it rings.
            self.wants_page = true;
            self.queue.push_back(ReadItem::Gap(Gap::Recovered));
            if self.log.is_degraded() {
                // It failed again since.
                self.queue.push_back(ReadItem::Degraded);
            }
        }
        is_news
    }

    fn read_page(&self, after: u64) -> PageQuery {
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

    /// Has the store begin with the next page where memory does not have it: a store does nothing before it is polled.
    fn read_ahead(&mut self, page: &Result<Vec<StoredEvent>, Error>, cx: &mut Context<'_>) {
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

    fn accept_page(&mut self, page: Result<Vec<StoredEvent>, Error>) {
        if self.is_paged() {
            return self.accept_paged(page);
        }
        if let (Err(error), true) = (&page, self.log.is_shared()) {
            return self.wait_for_store(error);
        }
        // From here on the memory has it, or it is not visible yet.
        let bound = self
            .log
            .tail
            .stats()
            .oldest
            .min(self.log.tail.published() + 1);
        match page {
            Ok(events) => self.accept_stored(&events, bound),
            Err(error) => {
                self.log.fail(error.with_causes());
                self.notice_degraded();
                self.skip_evicted(bound - 1);
            }
        }
    }

    /// Takes a page of streams that are read from the store alone, up to whatever it holds.
    fn accept_paged(&mut self, page: Result<Vec<StoredEvent>, Error>) {
        match page {
            // What comes later rings.
            Ok(events) if events.is_empty() => self.wants_page = false,
            Ok(events) => {
                let last = events.last().map_or(0, |event| event.sequence.get());
                self.accept_stored(&events, last + 1);
            }
            Err(error) => self.wait_for_store(&error),
        }
    }

    /// Nothing is lost while a shared store cannot be read: it is read again when it works again, which rings.
    fn wait_for_store(&mut self, error: &Error) {
        self.wants_page = false;
        self.log.fail_reading(error.with_causes());
        self.notice_degraded();
    }

    /// Takes the events of a page that are before `bound`. What is missing among them is a gap: the store may have
    /// let go of events since it was asked.
    fn accept_stored(&mut self, events: &[StoredEvent], bound: u64) {
        let next = self.after + 1;
        let oldest = self.log.store.oldest().get().min(bound);
        let places = |from, to| {
            let from = events.partition_point(|event| event.sequence.get() < from);
            let to = events.partition_point(|event| event.sequence.get() < to);
            events.get(from..to).unwrap_or_default()
        };
        let wanted = places(next, bound);
        let first = wanted.first().map_or(bound, |event| event.sequence.get());
        // What is there is no loss, though the store has let go of it since.
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

    /// Goes over what is gone before `oldest`, but for the opening events that the store keeps beyond retention.
    fn accept_pinned(&mut self, kept: &[StoredEvent], oldest: u64, wanted: &[StoredEvent]) {
        let Some(last) = kept.last().map(|event| event.sequence.get()) else {
            return self.skip_evicted(oldest - 1);
        };
        // A full page of them says nothing of what comes after.
        let to = if wanted.len() > kept.len() {
            oldest - 1
        } else {
            last
        };
        let gone = to - self.after - kept.len() as u64;
        let missed = (self.scope.keys.is_empty() && self.scope.filter.is_none()).then_some(gone);
        self.report_gap(to, missed);
        self.after = to;
        let slices = self.build_block(kept);
        self.queue_slices(slices);
    }

    /// Takes events of single streams: what stands between them is of others, but where the store failed.
    fn accept_stream_events(&mut self, wanted: &[StoredEvent], bound: u64) {
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
        // A store that took too long may have kept some of it after all.
        let kept = wanted.partition_point(|event| event.sequence.get() <= to);
        let kept = wanted.get(..kept).unwrap_or_default();
        let lost = self.log.tail.lost(&self.scope.keys, from - 1, to);
        let lost = lost.filter(|_| self.scope.filter.is_none());
        self.report_gap(to, lost.map(|lost| lost.saturating_sub(kept.len() as u64)));
        self.accept_run(kept, to + 1);
        self.after = to;
    }

    /// Takes events of a page that have no hole of this reader's between them.
    fn accept_run(&mut self, run: &[StoredEvent], bound: u64) {
        if run.is_empty() {
            // Nothing more of this stream in the store: the rest is in memory.
            self.after = self.after.max(bound - 1);
        } else {
            let slices = self.build_block(run);
            self.accept(slices);
        }
    }

    fn build_block(&mut self, events: &[StoredEvent]) -> Vec<Slice> {
        self.found_in_store |= events.iter().any(|event| event.key.is_some());
        let mut builder = BlockBuilder::with_capacity(64 * 1024, events.len());
        let is_filtered = self.is_filtered();
        for event in events {
            let epoch = self.log.id(event.sequence.get()).epoch();
            builder.push_stored(epoch, event, event.key.filter(|_| is_filtered));
        }
        vec![Slice::whole(Arc::new(builder.build(Instant::now())))]
    }

    fn accept(&mut self, slices: Vec<Slice>) {
        if let Some(last) = slices.last() {
            self.after = last.last();
        }
        self.queue_slices(slices);
    }

    fn queue_slices(&mut self, slices: Vec<Slice>) {
        let Some(filter) = self.scope.filter.clone() else {
            let wanted = slices
                .into_iter()
                .flat_map(|slice| filter_streams(slice, &self.scope.keys));
            self.queue.extend(wanted.map(ReadItem::Events));
            return;
        };
        let keep = |event: &BlockEvent<'_>| {
            event.is_global() || event.with_payload(|payload| filter(event.name(), payload))
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
            self.log.leave(&self.wake_flag);
        }
        self.log.readers().unregister();
        self.end_store_wait();
    }
}

fn query_head(
    log: &Arc<Log>,
    resume: ResumePoint,
    open_global_events: OpenGlobalEvents,
) -> HeadQuery {
    let store = Arc::clone(&log.store);
    Box::pin(async move {
        let answer = match store.shared_log() {
            Some(shared) => shared.head().await,
            None => Ok(Sequence::START),
        };
        let answer = match answer {
            Ok(head) if open_global_events.is_wanted(resume) => {
                let open_global_events = match store.open_event_recovery() {
                    Some(recovery) => recovery.read_open_global_events().await,
                    None => Ok(Vec::new()),
                };
                open_global_events.map(|open_global_events| (head, open_global_events))
            }
            answer => answer.map(|head| (head, Vec::new())),
        };
        (resume, answer)
    })
}

/// The runs of events that belong to these streams, or all of it when there are none.
fn filter_streams(slice: Slice, keys: &[StreamKey]) -> Vec<Slice> {
    if keys.is_empty() {
        return vec![slice];
    }
    slice.filter(|event| event.key().is_none_or(|key| keys.contains(&key)))
}
