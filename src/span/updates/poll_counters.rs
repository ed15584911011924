//! Counts the polls of one span's task. The host's threads add to the counters, and the worker reads them when it
//! reports the span's changes. So each poll costs only a few atomic operations. Host threads never wait here.

use std::sync::Arc;

use crate::{
    span::updates::changes::TaskState,
    util::{
        sync::{
            SpinMutex,
            atomic::{AtomicU32, AtomicU64, Ordering},
        },
        time::Timestamp,
    },
};

/// Counts the polls of one span. Times are nanoseconds since a moment that all callers share, and never 0.
#[derive(Debug)]
pub(crate) struct PollCounters {
    polls: AtomicU64,
    busy: AtomicU64,
    longest: AtomicU64,
    /// When the first poll began; 0 before.
    first: AtomicU64,
    /// When the last poll ended.
    rested: AtomicU64,
    /// When the current poll began; 0 between polls.
    begun: AtomicU64,
    /// How often the span is currently entered: a recursive function may enter its span again. Also has the flag
    /// [`CLOSED`].
    depth: AtomicU32,
    /// The number of the thread of the current poll.
    thread: AtomicU32,
    /// The number of polls in the last report.
    reported: AtomicU64,
    /// The poll that blocks its thread, if there is one.
    blocking: SpinMutex<BlockingPoll>,
}

/// Flag in `depth`: the span closed, so no further poll begins.
const CLOSED: u32 = 1 << 31;

#[derive(Debug, Default)]
struct BlockingPoll {
    /// When that poll began; 0 if no poll blocks its thread.
    begun: u64,
    since: Option<(Timestamp, Arc<str>)>,
    /// Whether this poll was reported to readers.
    is_reported: bool,
}

impl Default for PollCounters {
    fn default() -> Self {
        Self {
            polls: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            first: AtomicU64::new(0),
            rested: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            depth: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            reported: AtomicU64::new(0),
            blocking: SpinMutex::new(BlockingPoll::default()),
        }
    }
}

impl PollCounters {
    /// Notes that a thread enters the span for the first time. The first poll of the span begins now or has begun.
    pub(crate) fn note_first(&self, now: u64) {
        // Fails if another thread was earlier.
        let _is_first = self
            .first
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a poll begins on this thread. Returns `false` if the span is closed.
    #[inline]
    pub(crate) fn begin(&self, now: u64, thread: u32) -> bool {
        // Acquire: pairs with the release at the end of the last poll, which had read `begun` by then.
        let before = self.depth.fetch_add(1, Ordering::Acquire);
        if before != 0 {
            return self.keep_begun(before);
        }
        self.thread.store(thread, Ordering::Relaxed);
        self.begun.store(now, Ordering::Release);
        true
    }

    /// Ends a call of [`begin`](Self::begin) for a span that is entered already, or closed.
    #[cold]
    fn keep_begun(&self, before: u32) -> bool {
        let is_open = before & CLOSED == 0;
        if !is_open {
            self.depth.fetch_sub(1, Ordering::Relaxed);
        }
        is_open
    }

    /// Notes that a poll ends.
    #[inline]
    pub(crate) fn end(&self, now: u64) {
        // Read while this thread is still counted in `depth`: until then, no other thread begins a poll.
        let begun = self.begun.load(Ordering::Relaxed);
        // A span may close just before its last exit.
        if self.depth.fetch_sub(1, Ordering::Release) != 1
            && self.depth.load(Ordering::Relaxed) != CLOSED
        {
            return;
        }
        let took = if begun == 0 {
            self.take_begun(now)
        } else {
            // Fails if another thread has begun the next poll meanwhile.
            let _is_reset =
                self.begun
                    .compare_exchange(begun, 0, Ordering::Relaxed, Ordering::Relaxed);
            now.saturating_sub(begun)
        };
        self.busy.fetch_add(took, Ordering::Relaxed);
        // Checked first, because few polls are the longest so far.
        if took > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(took, Ordering::Relaxed);
        }
        self.rested.store(now, Ordering::Relaxed);
        self.polls.fetch_add(1, Ordering::Release);
    }

    /// Takes the poll that another thread was just beginning when this thread left the span. Returns how long that
    /// poll has lasted, or 0 if a third thread has taken it.
    #[cold]
    fn take_begun(&self, now: u64) -> u64 {
        match self.begun.swap(0, Ordering::Relaxed) {
            0 => 0,
            begun => now.saturating_sub(begun),
        }
    }

    /// Notes that the span closed. Another span may use its id from now on.
    pub(crate) fn close(&self) {
        self.depth.fetch_or(CLOSED, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.depth.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Returns when the current poll began, and the number of its thread.
    pub(crate) fn current_poll(&self) -> Option<(u64, u32)> {
        let begun = self.begun.load(Ordering::Acquire);
        (begun != 0).then(|| (begun, self.thread.load(Ordering::Relaxed)))
    }

    /// Notes that the poll that began at `begun` blocks its thread.
    pub(crate) fn mark_blocking(&self, begun: u64, since: Timestamp, thread: Arc<str>) {
        let mut blocking = self.blocking.lock();
        if blocking.begun != begun {
            *blocking = BlockingPoll {
                begun,
                since: Some((since, thread)),
                is_reported: false,
            };
        }
    }

    /// Returns whether the figures have changed since the last report.
    pub(crate) fn has_changed(&self) -> bool {
        if self.polls.load(Ordering::Acquire) != self.reported.load(Ordering::Relaxed) {
            return true;
        }
        let blocking = self.blocking.lock();
        blocking.begun != 0 && blocking.is_reported != self.is_blocked(&blocking)
    }

    /// Returns the figures if they have changed since the last report. The caller must report them.
    pub(crate) fn take_changed(&self) -> Option<TaskState> {
        if !self.has_changed() {
            return None;
        }
        let polls = self.polls.load(Ordering::Acquire);
        self.reported.store(polls, Ordering::Relaxed);
        let busy_nanos = self.busy.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        let until = begun.max(self.rested.load(Ordering::Relaxed));
        let lasted = until.saturating_sub(self.first.load(Ordering::Relaxed));
        let mut blocking = self.blocking.lock();
        let is_blocked = self.is_blocked(&blocking);
        blocking.is_reported = is_blocked;
        Some(TaskState {
            polls,
            busy_nanos,
            idle_nanos: lasted.saturating_sub(busy_nanos),
            longest_poll_nanos: self.longest.load(Ordering::Relaxed),
            polling: blocking.since.clone().filter(|_| is_blocked),
        })
    }

    fn is_blocked(&self, blocking: &BlockingPoll) -> bool {
        blocking.begun != 0 && blocking.begun == self.begun.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(polls: u64, busy_nanos: u64, idle_nanos: u64, longest_poll_nanos: u64) -> TaskState {
        TaskState {
            polls,
            busy_nanos,
            idle_nanos,
            longest_poll_nanos,
            polling: None,
        }
    }

    #[test]
    fn polls_work_and_waits_add_up() {
        let counters = PollCounters::default();
        assert_eq!(counters.take_changed(), None);
        counters.note_first(100);
        counters.note_first(150);
        for (begin, end) in [(100, 110), (150, 155), (200, 230)] {
            counters.begin(begin, 1);
            counters.end(end);
        }
        assert_eq!(counters.take_changed(), Some(state(3, 45, 85, 30)));
        assert_eq!(counters.take_changed(), None);
    }

    #[test]
    fn a_span_entered_again_inside_itself_is_polled_once() {
        let counters = PollCounters::default();
        counters.note_first(100);
        counters.begin(100, 1);
        counters.begin(110, 1);
        counters.end(120);
        assert_eq!(counters.current_poll(), Some((100, 1)));
        counters.end(130);
        assert_eq!(counters.current_poll(), None);
        assert_eq!(counters.take_changed(), Some(state(1, 30, 0, 30)));
    }

    #[test]
    fn a_closed_span_is_not_polled_again() {
        let counters = PollCounters::default();
        counters.note_first(100);
        assert!(counters.begin(100, 1));
        counters.end(110);
        counters.close();
        assert!(!counters.begin(200, 1));
        assert!(counters.is_closed());
        assert_eq!(counters.current_poll(), None);
        assert_eq!(counters.take_changed(), Some(state(1, 10, 0, 10)));
    }

    #[test]
    fn a_blocked_poll_is_reported_once_and_its_end_too() {
        let counters = PollCounters::default();
        let since = Timestamp::from_nanos(7);
        counters.note_first(100);
        counters.begin(100, 3);
        assert_eq!(counters.take_changed(), None);
        counters.mark_blocking(100, since, Arc::from("worker"));
        let reported = counters.take_changed().unwrap();
        assert_eq!(reported.polling, Some((since, Arc::from("worker"))));
        counters.mark_blocking(100, since, Arc::from("worker"));
        assert_eq!(counters.take_changed(), None);
        counters.end(400);
        assert_eq!(counters.take_changed(), Some(state(1, 300, 0, 300)));
        assert!(!counters.has_changed());
    }

    #[test]
    fn a_poll_that_ended_before_its_report_is_not_reported_as_blocking() {
        let counters = PollCounters::default();
        counters.note_first(100);
        counters.begin(100, 3);
        counters.end(200);
        counters.begin(300, 3);
        counters.mark_blocking(100, Timestamp::from_nanos(7), Arc::from("worker"));
        assert_eq!(counters.take_changed(), Some(state(1, 100, 100, 100)));
    }
}
