//! Decides where a reader begins: at the oldest event, at the head, or at its resume point. If the log does not have
//! the resume point, the reader gets a gap and begins at the oldest event. If memory does not have the answer, the
//! reader first asks the store: for the head of a shared log, and for the number of removed events. An unknown id must
//! never be an error. It runs on the reader's task.

use std::sync::Arc;

use crate::{
    engine::{
        log::{Log, RemovedBefore},
        resume::ResumePosition,
    },
    error::Error,
    log::block::Slice,
    reader::{
        cursor::{HeadAnswer, HeadQuery, HeadReply, Reader},
        scope::{ReadItem, Scope},
    },
    store::EventStore,
    wire::{control::Gap, id::ResumePoint},
};

impl Reader {
    /// Begins at the resume point in a log that has no other writer. `evicted` counts the events that retention has
    /// removed from the reader's streams, if that is known.
    pub(super) fn begin_in_memory(&mut self, resume: ResumePoint, evicted: Option<RemovedBefore>) {
        let start = self.log.resolve(resume);
        if self.scope.open_global_events.is_wanted(resume) {
            self.queue_open_global(self.log.tail.open_global_events(start.after));
        }
        self.begin(start, evicted);
    }

    pub(super) fn begin(&mut self, start: ResumePosition, evicted: Option<RemovedBefore>) {
        self.after = start.after;
        self.unreported_until = self
            .scope
            .gaps_reported_until
            .unwrap_or(start.unreported_until);
        if let Some(evicted) = evicted
            && start.after == 0
            && !self.scope.keys.is_empty()
        {
            self.report_evicted(evicted);
        }
        // A reader that resumes knows its streams, so the store need not be asked whether they exist.
        self.found_in_store |= start.after > 0 && !start.at_head && self.log.is_shared();
        if start.is_unknown {
            // At the front, so that it comes before the open events.
            self.queue.push_front(ReadItem::Gap(Gap::Epoch));
        }
        (self.degradations, self.recoveries) = (self.log.degradations(), self.log.recoveries());
        if self.log.is_degraded() {
            self.queue.push_back(ReadItem::Degraded);
        }
    }

    /// Queues a gap with the number of removed events, before all other items. Used for streams that are read from
    /// their beginning.
    fn report_evicted(&mut self, removed: RemovedBefore) {
        let RemovedBefore { events, oldest } = removed;
        if oldest <= 1 || self.scope.gaps_reported_until.is_some() {
            return;
        }
        // Removals before `oldest` are reported by this function's gap, or were not in these streams.
        self.unreported_until = oldest - 1;
        if events == Some(0) {
            return;
        }
        let (from, to) = (self.log.id(1), self.log.id(oldest - 1));
        // It is unknown how many of the removed events the filter would have accepted.
        let lost = events.filter(|_| self.scope.filter.is_none());
        self.queue
            .push_front(ReadItem::Gap(Gap::Evicted { from, to, lost }));
    }

    /// Returns whether the reader needs the number of removed events and only the store has it.
    pub(super) fn must_ask_for_evicted(&self, resume: ResumePoint) -> bool {
        let log = &self.log;
        !self.scope.keys.is_empty()
            && !log.is_in_memory()
            && log.store.oldest().get() > 1
            // A live reader begins at the current head, so it does not wait for the store.
            && resume != ResumePoint::Live
            && self.scope.gaps_reported_until.is_none()
            && log.resolve(resume).after == 0
    }

    pub(super) fn queue_open_global(&mut self, open_global_events: Vec<Slice>) {
        self.queue
            .extend(open_global_events.into_iter().map(ReadItem::OpenGlobal));
    }

    /// Begins after the store has answered. If a shared store cannot be read, the client's id is trusted.
    pub(super) fn begin_after_reply(&mut self, (resume, answer): HeadReply) {
        if !self.log.is_shared() {
            // If the store does not know the number of removed events, it is not reported.
            let evicted = answer.ok().and_then(|answer| answer.evicted);
            return self.begin_in_memory(resume, evicted);
        }
        match answer {
            Ok(HeadAnswer {
                head,
                open_global_events,
                evicted,
            }) => {
                let start = self.log.resolve_below(resume, head.get());
                if !open_global_events.is_empty() {
                    let slices = self.build_block(&open_global_events);
                    self.found_in_store = false;
                    self.queue_open_global(slices);
                }
                self.begin(start, evicted);
            }
            Err(error) => {
                let start = self.log.resolve_below(resume, u64::MAX);
                let after = if start.at_head {
                    self.log.head()
                } else {
                    // The client may have newer events than this process has.
                    start.after
                };
                self.begin(ResumePosition { after, ..start }, None);
                self.block(&error);
            }
        }
    }

    pub(super) fn query_head(log: &Arc<Log>, resume: ResumePoint, scope: &Scope) -> HeadQuery {
        let store = Arc::clone(&log.store);
        let keys = scope.keys.clone();
        let wants_open = scope.open_global_events.is_wanted(resume);
        let log = Arc::clone(log);
        Box::pin(async move {
            let evicted = log.removed_of(&keys).await;
            let answer = query_store(&*store, wants_open).await;
            (
                resume,
                answer.map(|answer| HeadAnswer { evicted, ..answer }),
            )
        })
    }
}

async fn query_store(store: &dyn EventStore, wants_open: bool) -> Result<HeadAnswer, Error> {
    let mut answer = HeadAnswer::default();
    let Some(shared) = store.shared_log() else {
        return Ok(answer);
    };
    answer.head = shared.head().await?;
    if let Some(recovery) = store.open_event_recovery().filter(|_| wants_open) {
        answer.open_global_events = recovery.read_open_global_events().await?;
    }
    Ok(answer)
}
