//! Reads the events of one trace for a report, from memory or else from the store. A report reads
//! within a budget, because it must finish soon, and because the threads that read the store also
//! serve every replay.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    engine::log::Log,
    log::event::StreamKey,
    reader::{ReadItem, subscription::Subscribe},
    store::PageLimit,
    wire::{control::Gap, id::Sequence},
};

/// The remaining budget of one report.
#[derive(Debug)]
pub(crate) struct ReadBudget {
    events: usize,
    until: Instant,
}

impl ReadBudget {
    /// Upper bound on the events that one report reads.
    pub(crate) const EVENTS_MAX: usize = 1_000_000;
    /// The time after which a report stops reading.
    pub(crate) const TIME_MAX: Duration = Duration::from_secs(2);

    /// The time after which a report on a single trace stops reading.
    #[cfg(feature = "mcp")]
    const TIME_OF_TRACE_MAX: Duration = Duration::from_secs(20);

    pub(crate) fn new() -> Self {
        Self {
            events: Self::EVENTS_MAX,
            until: Instant::now() + Self::TIME_MAX,
        }
    }

    /// Returns the budget of a report on a single trace. It allows more time, because the report is
    /// useless without the trace.
    #[cfg(feature = "mcp")]
    pub(crate) fn for_one_trace() -> Self {
        Self {
            events: Self::EVENTS_MAX,
            until: Instant::now() + Self::TIME_OF_TRACE_MAX,
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.events == 0 || Instant::now() >= self.until
    }

    fn spend(&mut self, events: usize) {
        self.events = self.events.saturating_sub(events);
    }
}

/// The result of reading a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadResult {
    /// All of the trace's events were read.
    Whole,
    /// Some events could not be read, or were evicted meanwhile.
    Damaged,
    /// The budget was spent before the end of the trace.
    Stopped,
}

/// One event of a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportEvent<'a> {
    pub(crate) sequence: u64,
    pub(crate) name: &'a str,
    pub(crate) payload: &'a [u8],
}

/// Calls `event` for the events of a trace up to the sequence `upto`, in log order.
pub(crate) async fn read_trace(
    log: &Arc<Log>,
    trace: [u8; 16],
    upto: u64,
    budget: &mut ReadBudget,
    mut event: impl FnMut(ReportEvent<'_>),
) -> ReadResult {
    let key = StreamKey::of_id(trace);
    if log.is_shared() {
        return read_stored(log, key, upto, budget, event).await;
    }
    let evicted_until = log.oldest().saturating_sub(1);
    let options = Subscribe::to(key).gaps_reported_until(evicted_until);
    let mut reader = options.reader(log);
    let head = log.tail.published();
    let mut result = ReadResult::Whole;
    while let Some(item) = reader.next_below(head).await {
        match item {
            ReadItem::Events(slice) | ReadItem::OpenGlobal(slice) => {
                budget.spend(slice.range.len());
                for stored in slice.events().filter(|event| event.key() == Some(key)) {
                    if stored.sequence() > upto {
                        return result;
                    }
                    stored.with_payload(|payload| {
                        event(ReportEvent {
                            sequence: stored.sequence(),
                            name: stored.name(),
                            payload,
                        });
                    });
                }
            }
            ReadItem::Gap(Gap::Evicted { lost, .. }) if lost != Some(0) => {
                result = ReadResult::Damaged;
            }
            ReadItem::Gap(_) | ReadItem::Closed => {}
            ReadItem::Degraded => result = ReadResult::Damaged,
        }
        if budget.is_spent() {
            return ReadResult::Stopped;
        }
        // If everything is in memory, no other call in this loop lets other tasks run.
        tokio::task::yield_now().await;
    }
    result
}

/// Reads from the store alone, because only the store has every event of a shared log.
async fn read_stored(
    log: &Log,
    key: StreamKey,
    upto: u64,
    budget: &mut ReadBudget,
    mut event: impl FnMut(ReportEvent<'_>),
) -> ReadResult {
    let mut after = Sequence::START;
    loop {
        let page = log
            .store
            .read_streams_after(&[key], after, PageLimit::LARGE)
            .await;
        let Ok(page) = page else {
            return ReadResult::Damaged;
        };
        let Some(last) = page.last() else {
            return ReadResult::Whole;
        };
        after = last.sequence;
        budget.spend(page.len());
        for stored in page.iter().filter(|stored| stored.key == Some(key)) {
            if stored.sequence.get() > upto {
                return ReadResult::Whole;
            }
            event(ReportEvent {
                sequence: stored.sequence.get(),
                name: &stored.name,
                payload: &stored.payload,
            });
        }
        if budget.is_spent() {
            return ReadResult::Stopped;
        }
    }
}
