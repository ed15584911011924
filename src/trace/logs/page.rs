//! Pages of log records, newest first. A page finds the newest records by their positions. For
//! older ones it scans events, in steps and within a budget, because the threads that read the
//! store also serve replays. It runs on the task of a request.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    engine::log::Log,
    error::Error,
    log::{block::Slice, event::StreamKey, tail::TailRead},
    store::PageLimit,
    trace::{index::TraceIndex, logs::filter::LogFilter},
    wire::id::Sequence,
};

/// The number of examined events after which a page begins no further step.
const PAGE_ROWS_MAX: usize = 50_000;
/// The time after which a page begins no further step. Memory and the store each have this time.
const PAGE_TIME_MAX: Duration = Duration::from_secs(1);
/// Upper bound on the payload bytes of a page. A page that has only one record may exceed it.
pub(crate) const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Number of positions that are copied from the index at once. Other tasks may run between two copies.
const POSITIONS_AT_ONCE: usize = 256;
/// Number of sequences that one step examines.
const STEP: u64 = 4_096;

/// One page of the list.
#[derive(Debug, Default)]
pub(crate) struct LogPage {
    /// The records, newest first, each with its sequence.
    pub(crate) logs: Vec<(u64, Bytes)>,
    /// The event before which the next page begins, if there may be more.
    pub(crate) next: Option<u64>,
    /// Whether the page is short because a longer search would have taken too long.
    pub(crate) stopped_early: bool,
}

/// Returns at most `limit` log records that the filter accepts and that are older than the event
/// `before`. Waits for `permit` before it reads events from the store.
pub(crate) async fn page<P, E: From<Error>>(
    log: &Log,
    index: &TraceIndex,
    filter: &LogFilter,
    (before, limit): (u64, usize),
    permit: impl AsyncFnOnce() -> Result<P, E>,
) -> Result<LogPage, E> {
    let head = match log.store.shared_log() {
        Some(shared) => shared.head().await?.get(),
        None => log.tail.published(),
    };
    let mut search = LogSearch::new(log, filter, limit);
    let mut upper = before.min(head.saturating_add(1));
    // In a shared log, the index has only the events that this process followed.
    if !log.is_shared() {
        let known = index.logs_known_from().max(log.tail.stats().oldest);
        if search.by_position(index, known, upper).await {
            return Ok(search.page);
        }
        upper = upper.min(known);
    }
    let in_memory = if log.is_shared() {
        head + 1
    } else {
        log.tail.stats().oldest
    };
    while upper > in_memory {
        let lower = upper.saturating_sub(STEP).max(in_memory);
        if search.in_memory(lower, upper) {
            return Ok(search.page);
        }
        upper = lower;
        tokio::task::yield_now().await;
    }
    if log.is_in_memory() || upper <= log.oldest() {
        return Ok(search.page);
    }
    let _permit = permit().await?;
    search.begun = Instant::now();
    let keys = filter.keys().filter(|keys| !keys.is_empty());
    while upper > log.oldest() {
        let lower = upper.saturating_sub(STEP).max(log.oldest());
        if search.in_store(keys.as_deref(), lower, upper).await? {
            break;
        }
        upper = lower;
    }
    Ok(search.page)
}

/// A search for the records of one page, from the newest to the oldest. Each step returns whether the page is done.
struct LogSearch<'a> {
    log: &'a Log,
    filter: &'a LogFilter,
    limit: usize,
    page: LogPage,
    bytes: usize,
    rows: usize,
    begun: Instant,
}

impl<'a> LogSearch<'a> {
    fn new(log: &'a Log, filter: &'a LogFilter, limit: usize) -> Self {
        Self {
            log,
            filter,
            limit,
            page: LogPage::default(),
            bytes: 0,
            rows: 0,
            begun: Instant::now(),
        }
    }

    /// Adds the records in memory whose positions are known, down to `known`.
    async fn by_position(&mut self, index: &TraceIndex, known: u64, mut upper: u64) -> bool {
        loop {
            let positions = index.log_positions(
                |position| self.filter.accepts_position(position),
                known..upper,
                POSITIONS_AT_ONCE,
            );
            for sequence in &positions {
                if self.is_spent(sequence + 1) {
                    return true;
                }
                let mut payload = None;
                self.read_memory(*sequence, sequence + 1, |_, found| payload = Some(found));
                if payload.is_some_and(|payload| self.take(*sequence, payload)) {
                    return true;
                }
            }
            match positions.last() {
                Some(last) if positions.len() == POSITIONS_AT_ONCE => upper = *last,
                _ => return false,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Examines the events `lower..upper` in memory.
    fn in_memory(&mut self, lower: u64, upper: u64) -> bool {
        if self.is_spent(upper) {
            return true;
        }
        let mut found = Vec::new();
        self.read_memory(lower, upper, |sequence, payload| {
            found.push((sequence, payload));
        });
        self.take_all(found)
    }

    /// Examines the events `lower..upper` in the store.
    async fn in_store(
        &mut self,
        keys: Option<&[StreamKey]>,
        lower: u64,
        upper: u64,
    ) -> Result<bool, Error> {
        if self.is_spent(upper) {
            return Ok(true);
        }
        let mut found = Vec::new();
        let mut after = lower.saturating_sub(1);
        while after + 1 < upper {
            let from = Sequence::new(after);
            let store = &self.log.store;
            let events = match keys {
                Some(keys) => {
                    store
                        .read_streams_after(keys, from, PageLimit::LARGE)
                        .await?
                }
                None => store.read_after(from, PageLimit::LARGE).await?,
            };
            let Some(last) = events.last() else { break };
            after = last.sequence.get();
            self.rows += events.len();
            let logs = events.into_iter().filter(|event| event.name == "log");
            let logs = logs.map(|event| (event.sequence.get(), event.payload));
            found.extend(logs.take_while(|(sequence, _)| *sequence < upper));
        }
        Ok(self.take_all(found))
    }

    /// Calls `found` with the log records `lower..upper` that are in memory.
    fn read_memory(&mut self, lower: u64, upper: u64, mut found: impl FnMut(u64, Bytes)) {
        let mut after = lower.saturating_sub(1);
        while after + 1 < upper {
            match self.log.tail.read_after(after) {
                TailRead::Events(slices) => {
                    for event in slices.iter().flat_map(Slice::events) {
                        after = event.sequence();
                        if after >= upper {
                            return;
                        }
                        self.rows += 1;
                        if event.name() == "log" {
                            found(after, event.payload());
                        }
                        if after + 1 == upper {
                            return;
                        }
                    }
                }
                // Retention has removed the events meanwhile.
                TailRead::Evicted(oldest) if oldest > after + 1 => after = oldest - 1,
                TailRead::Evicted(_) | TailRead::Nothing(_) => return,
            }
        }
    }

    fn take_all(&mut self, found: Vec<(u64, Bytes)>) -> bool {
        let mut newest_first = found.into_iter().rev();
        newest_first.any(|(sequence, payload)| self.take(sequence, payload))
    }

    /// Adds a record if the filter accepts it. Returns whether this is the first record for which
    /// the page has no room.
    fn take(&mut self, sequence: u64, payload: Bytes) -> bool {
        if !self.filter.accepts(&payload) {
            return false;
        }
        let size = self.bytes + payload.len();
        let is_full = self.page.logs.len() == self.limit
            || size > PAGE_BYTES_MAX && !self.page.logs.is_empty();
        if is_full {
            self.page.next = Some(sequence + 1);
        } else {
            self.bytes = size;
            self.page.logs.push((sequence, payload));
        }
        is_full
    }

    /// Ends the page before the event `upper` if the budget is spent. A page examines at least one
    /// event.
    fn is_spent(&mut self, upper: u64) -> bool {
        let is_spent =
            self.rows >= PAGE_ROWS_MAX || self.rows > 0 && self.begun.elapsed() >= PAGE_TIME_MAX;
        if is_spent {
            self.page.next = Some(upper);
            self.page.stopped_early = true;
        }
        is_spent
    }
}
