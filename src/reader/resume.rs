//! Where a reader begins: at its resume point if the log has it, else at the oldest event, after a gap. In a shared log
//! the store is asked for its head first. An unknown id is never an error. It runs on the reader's task.

use std::sync::Arc;

use crate::{
    engine::{log::Log, resume::ResumePosition},
    log::block::Slice,
    reader::{
        cursor::{HeadQuery, HeadReply, Reader},
        scope::{OpenGlobalEvents, ReadItem},
    },
    wire::{
        control::Gap,
        id::{ResumePoint, Sequence},
    },
};

impl Reader {
    pub(super) fn begin(&mut self, start: ResumePosition) {
        self.after = start.after;
        self.unreported_until = self
            .scope
            .gaps_reported_until
            .unwrap_or(start.unreported_until);
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

    pub(super) fn queue_open_global(&mut self, open_global_events: Vec<Slice>) {
        self.queue
            .extend(open_global_events.into_iter().map(ReadItem::OpenGlobal));
    }

    /// Begins once the store has reported its head. If the store cannot be read, the client's id is trusted.
    pub(super) fn begin_after_reply(&mut self, (resume, answer): HeadReply) {
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
                let start = self.log.resolve_below(resume, u64::MAX);
                let after = if start.at_head {
                    self.log.head()
                } else {
                    // This process may know fewer events than the client has.
                    start.after
                };
                self.begin(ResumePosition { after, ..start });
                self.block(&error);
            }
        }
    }

    pub(super) fn query_head(
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
}
