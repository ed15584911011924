//! Where a reader begins: at its resume point if the log has it, else at the oldest event, after a gap. In a shared log
//! the store is asked for its head first. An unknown id is never an error. It runs on the reader's task.

use std::sync::Arc;

use crate::{
    engine::{log::Log, resume::ResumePosition},
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
    /// Begins where this log, whose only writer it is, has the resume point. `evicted` counts the events of the
    /// reader's streams that retention has let go.
    pub(super) fn begin_in_memory(&mut self, resume: ResumePoint, evicted: u64) {
        let start = self.log.resolve(resume);
        if self.scope.open_global_events.is_wanted(resume) {
            self.queue_open_global(self.log.tail.open_global_events(start.after));
        }
        self.begin(start, evicted);
    }

    pub(super) fn begin(&mut self, start: ResumePosition, evicted: u64) {
        self.after = start.after;
        self.unreported_until = self
            .scope
            .gaps_reported_until
            .unwrap_or(start.unreported_until);
        if start.after == 0 && !self.scope.keys.is_empty() {
            self.report_evicted(evicted);
        }
        // A reader that resumes knows its streams, so the store is not asked for them again.
        self.found_in_store |= start.after > 0 && !start.at_head && self.log.is_shared();
        if start.is_unknown {
            // Before the open events.
            self.queue.push_front(ReadItem::Gap(Gap::Epoch));
        }
        (self.degradations, self.recoveries) = (self.log.degradations(), self.log.recoveries());
        if self.log.is_degraded() {
            self.queue.push_back(ReadItem::Degraded);
        }
    }

    /// Queues a gap with what is gone of streams that are read from their beginning, before everything else.
    fn report_evicted(&mut self, evicted: u64) {
        // Memory says nothing of a log that others append to: it may have followed nothing.
        let oldest = if self.log.is_shared() {
            self.log.store.oldest().get()
        } else {
            self.log.oldest()
        };
        if oldest <= 1 || self.scope.gaps_reported_until.is_some() {
            return;
        }
        // What was gone before is said here, or is nothing of these streams.
        self.unreported_until = oldest - 1;
        if evicted == 0 {
            return;
        }
        let (from, to) = (self.log.id(1), self.log.id(oldest - 1));
        // It is not known how many of them the filter would have passed.
        let lost = self.scope.filter.is_none().then_some(evicted);
        self.queue
            .push_front(ReadItem::Gap(Gap::Evicted { from, to, lost }));
    }

    /// Whether only the store knows what is gone of the reader's streams, and the reader is to be told.
    pub(super) fn must_ask_for_evicted(&self, resume: ResumePoint) -> bool {
        let log = &self.log;
        !self.scope.keys.is_empty()
            && !log.is_in_memory()
            && log.store.oldest().get() > 1
            && self.scope.gaps_reported_until.is_none()
            && log.resolve(resume).after == 0
    }

    pub(super) fn queue_open_global(&mut self, open_global_events: Vec<Slice>) {
        self.queue
            .extend(open_global_events.into_iter().map(ReadItem::OpenGlobal));
    }

    /// Begins once the store has answered. If it cannot be read, the client's id is trusted.
    pub(super) fn begin_after_reply(&mut self, (resume, answer): HeadReply) {
        if !self.log.is_shared() {
            // What the store cannot say is left out.
            let evicted = answer.map_or(0, |answer| answer.evicted);
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
                    // This process may know fewer events than the client has.
                    start.after
                };
                self.begin(ResumePosition { after, ..start }, 0);
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
            let evicted = log.evicted_of(&keys).await;
            let answer = query_store(&*store, wants_open).await;
            let evicted = evicted.iter().flatten().map(|evicted| evicted.events);
            let answer = answer.map(|answer| HeadAnswer {
                evicted: evicted.sum(),
                ..answer
            });
            (resume, answer)
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
