//! The slot of one open span: its pending changes, behind a lock. A host thread tries to take the lock a bounded number
//! of times; it never waits for it.

#[cfg(feature = "tracing")]
use std::sync::Arc;
use std::{mem, ops::DerefMut};

#[cfg(feature = "tracing")]
use crate::span::updates::poll_counters::PollCounters;
use crate::{
    span::updates::changes::Changes,
    util::sync::{
        SpinMutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// How often a host thread tries again if the lock is taken. The holder of the lock only swaps or assigns one value.
const TRIES: u32 = 64;

/// The ids of a span, by which its slot is found.
pub(crate) type SlotIds = ([u8; 16], [u8; 8]);

/// The result of noting a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoteResult {
    /// The change is pending, and the slot is already in the queue.
    Queued,
    /// The change is pending, and the caller must put the slot into the queue.
    MustQueue,
    /// There was no room for the change, or the lock stayed taken.
    Dropped,
    /// The span has ended.
    Ended,
}

/// The changes of one open span.
#[derive(Debug)]
pub(crate) struct UpdateSlot {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) source: u32,
    /// Whether the first `updated` event of the span is delayed by one update interval. Most polls and waits are over
    /// by then, and need no event.
    pub(crate) waits_first: bool,
    pub(super) state: SpinMutex<SlotState>,
    /// Set under the lock. Cleared without it, too, if the queue was full.
    is_queued: AtomicBool,
    /// Set under the lock. Set without it, too, if the lock stayed taken at the end of the span.
    is_ended: AtomicBool,
    /// Whether the worker has taken changes before.
    was_taken: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct SlotState {
    pending: Changes,
    /// Counts the polls of the span's task. Read when changes are reported.
    #[cfg(feature = "tracing")]
    polls: Option<Arc<PollCounters>>,
}

impl SlotState {
    fn take_pending(&mut self) -> Changes {
        #[cfg_attr(
            not(feature = "tracing"),
            expect(unused_mut, reason = "only tasks of `tracing` are polled")
        )]
        let mut changes = mem::take(&mut self.pending);
        #[cfg(feature = "tracing")]
        if let Some(task) = self.polls.as_ref().and_then(|polls| polls.take_changed()) {
            changes.set_task(task);
        }
        changes
    }
}

impl UpdateSlot {
    pub(crate) fn new(trace_id: [u8; 16], span_id: [u8; 8], source: u32) -> Self {
        Self {
            trace_id,
            span_id,
            source,
            waits_first: false,
            state: SpinMutex::new(SlotState::default()),
            is_queued: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            was_taken: AtomicBool::new(false),
        }
    }

    /// Delays the first `updated` event of the span: see [`waits_first`](Self::waits_first).
    pub(super) fn waiting_first(mut self) -> Self {
        self.waits_first = true;
        self
    }

    /// Notes a change. `change` returns whether there was room for the change.
    #[inline]
    pub(crate) fn note(&self, change: impl FnOnce(&mut Changes) -> bool) -> NoteResult {
        let Some(mut state) = self.lock_briefly() else {
            return NoteResult::Dropped;
        };
        if self.is_ended.load(Ordering::Relaxed) {
            return NoteResult::Ended;
        }
        if !change(&mut state.pending) {
            return NoteResult::Dropped;
        }
        // A load and a store, because a swap would drain the store buffer. All other threads that set it hold the lock.
        if self.is_queued.load(Ordering::Relaxed) {
            NoteResult::Queued
        } else {
            self.is_queued.store(true, Ordering::Relaxed);
            NoteResult::MustQueue
        }
    }

    /// Sets the counters of the polls of the span's task. The counters are read whenever the slot's changes are taken.
    #[cfg(feature = "tracing")]
    pub(crate) fn count_polls(&self, polls: &Arc<PollCounters>) {
        if let Some(mut state) = self.lock_briefly() {
            state.polls = Some(Arc::clone(polls));
        }
    }

    /// Marks the slot as not queued, because the queue had no room. The next change queues the slot.
    pub(super) fn not_queued(&self) {
        self.is_queued.store(false, Ordering::Relaxed);
    }

    /// Takes the pending changes. Only the worker calls it; it waits for the lock. Returns `None` if the lock stayed taken
    /// at the end of the span, and changes were pending then. They are lost, because the end may be reported already.
    pub(crate) fn take(&self) -> Option<Changes> {
        let mut state = self.state.lock();
        self.is_queued.store(false, Ordering::Relaxed);
        self.was_taken.store(true, Ordering::Relaxed);
        // If the end of the span got the lock, it took all changes.
        let is_late = self.is_ended.load(Ordering::Relaxed) && state.pending != Changes::default();
        if is_late {
            state.pending = Changes::default();
            return None;
        }
        Some(state.take_pending())
    }

    /// Returns whether the worker has taken changes before.
    pub(crate) fn was_taken(&self) -> bool {
        self.was_taken.load(Ordering::Relaxed)
    }

    /// Closes the slot at the end of its span and takes the changes that are still pending. If the lock stays taken,
    /// the slot is closed as well, and the result is `None`. The caller must then queue the slot, so that the worker
    /// counts the changes that are lost.
    pub(crate) fn end(&self) -> Option<Changes> {
        let lock = self.lock_briefly();
        // The worker sees this once it has read the record of the end, which is pushed after it.
        self.is_ended.store(true, Ordering::Relaxed);
        lock.map(|mut state| state.take_pending())
    }

    /// Locks within a bounded time, or not at all.
    #[inline]
    fn lock_briefly(&self) -> Option<impl DerefMut<Target = SlotState>> {
        let mut lock = self.state.try_lock();
        let mut tries = 0;
        while lock.is_none() && tries < TRIES {
            std::hint::spin_loop();
            lock = self.state.try_lock();
            tries += 1;
        }
        lock
    }
}
