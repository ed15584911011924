//! The state of all traces. The worker updates it before events are visible; the tasks of requests
//! and the threads that print reports read it. A trace is removed with its last event in memory,
//! unless an earlier run of the log left it open. So retention bounds the index.

#[cfg(feature = "mcp")]
pub(crate) mod matching;
#[cfg(feature = "http")]
pub(crate) mod open_now;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    log::{event::StreamKey, retention::EvictedEvents},
    trace::{
        end::TraceEnds,
        filter::TraceFilter,
        logs::positions::{LogPositions, LogRecordPosition},
        operations::{
            operation::{EndedSpan, Operation},
            table::{OperationId, Operations},
        },
        span_change::{ChangeKind, SpanChange},
        state::{RunningChange, Trace},
        summary::Summary,
    },
    util::{
        hash::Map,
        sync::{read, write},
        time::Timestamp,
    },
    wire::id::EventId,
};

pub(crate) use crate::trace::state::SpanPhase;

#[derive(Debug, Default)]
pub(crate) struct TraceIndex {
    pub(super) state: RwLock<IndexState>,
    /// Counts the batches of changes. A viewer finds the changes that it has not seen by this number.
    pub(super) version: AtomicU64,
    /// The queues of ended traces.
    pub(crate) ends: TraceEnds,
}

#[derive(Debug, Default)]
pub(super) struct IndexState {
    /// The entries are boxed to keep the table small, because look-ups by id are random over the whole table.
    pub(super) traces: Map<[u8; 16], Box<IndexEntry>>,
    /// The traces by their first event, which is the order of the list.
    pub(super) order: BTreeMap<u64, [u8; 16]>,
    pub(super) open: BTreeSet<u64>,
    /// The traces in the order of their last changes, so that a viewer skips unchanged ones.
    changed: ChangeLog,
    pub(super) operations: Operations,
    logs: LogPositions,
    /// The index has every trace whose first event is this one or a later one.
    pub(super) from: u64,
    /// Entries of forgotten traces, for reuse. If traces come and go quickly, the memory of these entries is still in
    /// the cache; fetching cold memory is most of what a new entry costs.
    #[expect(clippy::vec_box, reason = "the allocations are reused")]
    spare: Vec<Box<IndexEntry>>,
}

/// The version of an entry that is in no change log yet.
const NO_VERSION: u64 = u64::MAX;

/// Upper bound on the spare entries.
const SPARE_MAX: usize = 2048;

/// The state of an index that is being rebuilt.
#[derive(Debug, Default)]
pub(crate) struct PendingIndex {
    state: IndexState,
    /// Traces whose next events were left out, each with the spans that were open before those events.
    unsure: Vec<([u8; 16], Vec<[u8; 8]>)>,
}

impl PendingIndex {
    /// Creates a state that will hold all traces whose first event is `from` or later, and some
    /// older ones.
    pub(crate) fn new(from: u64) -> Self {
        let state = IndexState {
            from,
            logs: LogPositions::from(from),
            ..IndexState::default()
        };
        Self {
            state,
            unsure: Vec::new(),
        }
    }

    /// Applies changes with their sequences.
    pub(crate) fn apply(&mut self, changes: impl Iterator<Item = (u64, SpanChange)>) {
        for (sequence, change) in changes {
            self.state.apply(sequence, &change, 0);
        }
    }

    /// Records that the next events of the trace are left out.
    pub(crate) fn leave_out_rest(&mut self, stream: &StreamKey) {
        let id = <[u8; 16]>::try_from(stream.as_bytes());
        if let Ok(id) = id
            && let Some(entry) = self.state.traces.get(&id)
        {
            self.unsure.push((id, entry.trace.open_spans().collect()));
        }
    }

    /// Treats some spans as ended: those that were open before events were left out and are still open, if
    /// `may_have_ended` returns true for them. With `requires_ended_root`, this applies only to traces whose root has
    /// ended.
    pub(crate) fn assume_ended(
        &mut self,
        requires_ended_root: bool,
        may_have_ended: impl Fn([u8; 8]) -> bool,
    ) {
        for (id, mut spans) in std::mem::take(&mut self.unsure) {
            let Some(entry) = self.state.traces.get_mut(&id) else {
                continue;
            };
            if requires_ended_root && !entry.trace.has_root_ended() {
                continue;
            }
            spans.retain(|span| may_have_ended(*span));
            let was_open = entry.trace.is_open();
            for operation in entry.trace.assume_ended(&spans) {
                self.state.operations.closed(operation);
            }
            if was_open && !entry.trace.is_open() {
                self.state.open.remove(&entry.trace.first);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) trace: Trace,
    pub(super) version: u64,
}

/// The versions at which traces changed, ascending. The log has the last change of each trace, and
/// may have earlier ones.
#[derive(Debug, Default)]
struct ChangeLog(VecDeque<(u64, [u8; 16])>);

impl ChangeLog {
    /// The number of changes that are kept beyond two per trace. Above it, all but the last change
    /// of each trace are removed.
    const SLACK: usize = 1024;

    fn push(&mut self, version: u64, id: [u8; 16], traces: &Map<[u8; 16], Box<IndexEntry>>) {
        self.0.push_back((version, id));
        if self.0.len() > 2 * traces.len() + Self::SLACK {
            self.0.retain(|(version, id)| {
                let entry = traces.get(id);
                entry.is_some_and(|entry| entry.version == *version)
            });
            self.0.shrink_to(traces.len() + Self::SLACK);
        }
    }

    fn after(&self, version: u64) -> impl Iterator<Item = [u8; 16]> {
        let from = self.0.partition_point(|(at, _)| *at <= version);
        self.0.range(from..).map(|(_, id)| *id)
    }
}

/// One page of the list.
#[derive(Debug, Default)]
pub(crate) struct TracePage {
    /// The traces, newest first, each with the sequence of its first event.
    pub(crate) traces: Vec<(u64, Summary)>,
    /// The event before which the next page begins, if there is more.
    pub(crate) next: Option<u64>,
    /// Whether the page ended early because reading further would have taken too long. The next
    /// page continues there.
    pub(crate) stopped_early: bool,
    /// Traces with more events than one page may read. The search could not decide whether it accepts them.
    pub(crate) searched_in_part: Vec<[u8; 16]>,
}

impl TraceIndex {
    /// Applies changes with their sequences.
    pub(crate) fn apply(&self, changes: impl Iterator<Item = (u64, SpanChange)>) {
        self.apply_each(changes, |_ended| ());
    }

    /// Applies changes with their sequences. Returns the traces that a change ended; a later change
    /// may have reopened them.
    pub(crate) fn apply_watched(
        &self,
        changes: impl Iterator<Item = (u64, SpanChange)>,
    ) -> Vec<[u8; 16]> {
        let mut ended = Vec::new();
        self.apply_each(changes, |id| {
            if !ended.contains(&id) {
                ended.push(id);
            }
        });
        ended
    }

    fn apply_each(
        &self,
        changes: impl Iterator<Item = (u64, SpanChange)>,
        mut ended: impl FnMut([u8; 16]),
    ) {
        // The version changes under the lock, because two threads apply changes in a shared log.
        let mut state = write(&self.state);
        let version = self.version.load(Ordering::Acquire) + 1;
        for (sequence, change) in changes {
            if state.apply(sequence, &change, version) {
                ended(change.trace_id);
            }
        }
        self.version.store(version, Ordering::Release);
    }

    /// Returns traces that begin before this event and have open spans.
    pub(crate) fn open_traces(&self, before: u64, limit: usize) -> Vec<[u8; 16]> {
        let state = read(&self.state);
        let open = state.open.range(..before).take(limit);
        open.filter_map(|first| state.order.get(first))
            .copied()
            .collect()
    }

    /// Replaces the whole state with a finished rebuild.
    pub(crate) fn commit(&self, pending: PendingIndex) {
        let mut rebuilt = pending.state;
        let mut state = write(&self.state);
        let version = self.version.load(Ordering::Acquire) + 1;
        rebuilt.changed = ChangeLog::default();
        for (id, entry) in &mut rebuilt.traces {
            entry.version = version;
            for twin in entry.trace.forget_twins() {
                rebuilt.operations.closed(twin);
            }
            rebuilt.changed.0.push_back((version, *id));
        }
        *state = rebuilt;
        self.version.store(version, Ordering::Release);
    }

    /// Forgets traces whose last event has left the log.
    pub(crate) fn forget(&self, keys: &[StreamKey]) {
        if keys.is_empty() {
            return;
        }
        let ids = keys
            .iter()
            .filter_map(|key| <[u8; 16]>::try_from(key.as_bytes()).ok());
        let mut state = write(&self.state);
        let version = self.version.load(Ordering::Acquire) + 1;
        state.forget(ids);
        self.version.store(version, Ordering::Release);
    }

    /// Records how many events retention has removed from traces. Returns whether any count is new.
    pub(crate) fn set_evicted(&self, evicted: &[(StreamKey, EvictedEvents)]) -> bool {
        if evicted.is_empty() {
            return false;
        }
        let mut state = write(&self.state);
        let version = self.version.load(Ordering::Acquire) + 1;
        let mut has_changed = false;
        for (key, evicted) in evicted {
            let id = <[u8; 16]>::try_from(key.as_bytes());
            let Ok(id) = id else {
                continue;
            };
            if let Some(entry) = state.traces.get_mut(&id)
                && entry.trace.evicted() != *evicted
            {
                entry.trace.set_evicted(*evicted);
                entry.version = version;
                state.log_change(version, id);
                has_changed = true;
            }
        }
        self.version.store(version, Ordering::Release);
        has_changed
    }

    /// Sends these traces to viewers of the live list again, because a property outside the index
    /// has changed.
    pub(crate) fn note_changed(&self, keys: &[StreamKey]) {
        if keys.is_empty() {
            return;
        }
        let mut state = write(&self.state);
        let version = self.version.load(Ordering::Acquire) + 1;
        for key in keys {
            let Ok(id) = <[u8; 16]>::try_from(key.as_bytes()) else {
                continue;
            };
            if let Some(entry) = state.traces.get_mut(&id) {
                entry.version = version;
                state.log_change(version, id);
            }
        }
        self.version.store(version, Ordering::Release);
    }

    /// Returns the traces whose first known event is before this one, oldest first.
    pub(crate) fn begun_before(&self, sequence: u64, limit: usize) -> Vec<StreamKey> {
        let state = read(&self.state);
        let begun = state.order.range(..sequence).take(limit);
        begun.map(|(_, id)| StreamKey::of_id(*id)).collect()
    }

    /// Returns whether the trace is complete and a reader at `after` has read all of it.
    pub(crate) fn is_complete(&self, id: [u8; 16], after: u64) -> bool {
        let state = read(&self.state);
        let entry = state.traces.get(&id);
        entry.is_some_and(|entry| entry.trace.last <= after && entry.trace.is_complete())
    }

    pub(crate) fn has_open_spans(&self, id: &[u8; 16]) -> bool {
        let state = read(&self.state);
        let entry = state.traces.get(id);
        entry.is_some_and(|entry| entry.trace.is_open())
    }

    pub(crate) fn knows(&self, id: &[u8; 16]) -> bool {
        read(&self.state).traces.contains_key(id)
    }

    /// Returns the sequence of a trace's first event.
    #[cfg(feature = "http")]
    pub(crate) fn first(&self, id: [u8; 16]) -> Option<u64> {
        let state = read(&self.state);
        state.traces.get(&id).map(|entry| entry.trace.first)
    }

    /// Returns the phase of a span, or `None` if its trace is unknown.
    pub(crate) fn span_phase(&self, id: [u8; 16], span: [u8; 8]) -> Option<SpanPhase> {
        let state = read(&self.state);
        state
            .traces
            .get(&id)
            .map(|entry| entry.trace.span_phase(span))
    }

    pub(crate) fn summary(&self, id: [u8; 16], to_id: impl Fn(u64) -> EventId) -> Option<Summary> {
        read(&self.state)
            .traces
            .get(&id)
            .map(|entry| entry.trace.summary(id, to_id))
    }

    /// Returns the newest traces that the filter accepts, of those that begin before the event `before`.
    pub(crate) fn page(
        &self,
        filter: &TraceFilter,
        before: u64,
        limit: usize,
        to_id: impl Fn(u64) -> EventId,
    ) -> TracePage {
        let now = Timestamp::now();
        let state = read(&self.state);
        let mut traces = Vec::new();
        let mut next = None;
        for (first, id) in state.order.range(..before).rev() {
            let Some(entry) = state.traces.get(id) else {
                continue;
            };
            if !filter.accepts(id, &entry.trace, now) {
                continue;
            }
            if traces.len() == limit {
                // The next page begins with this trace: it lists traces before `next`.
                next = Some(first + 1);
                break;
            }
            traces.push((*first, entry.trace.summary(*id, &to_id)));
        }
        TracePage {
            traces,
            next,
            ..TracePage::default()
        }
    }

    /// Returns the sequence from which on the index knows every log record.
    pub(crate) fn logs_known_from(&self) -> u64 {
        read(&self.state).logs.first_known()
    }

    /// Returns the newest log records in the range whose position `accepts` accepts.
    pub(crate) fn log_positions(
        &self,
        accepts: impl Fn(&LogRecordPosition) -> bool,
        range: Range<u64>,
        limit: usize,
    ) -> Vec<u64> {
        let state = read(&self.state);
        let positions = state.logs.before(range.end);
        positions
            .take_while(|position| position.sequence >= range.start)
            .filter(|position| accepts(position))
            .map(|position| position.sequence)
            .take(limit)
            .collect()
    }

    /// Returns the figures of one operation.
    pub(crate) fn operation(&self, service: &str, name: &str) -> Option<Operation> {
        read(&self.state).operations.get(service, name).cloned()
    }
}

impl IndexState {
    fn forget(&mut self, ids: impl Iterator<Item = [u8; 16]>) {
        // Several short passes instead of one: each access is probably a cache miss, and the processor overlaps misses
        // only if little code stands between them.
        let gone: Vec<Box<IndexEntry>> = ids.filter_map(|id| self.traces.remove(&id)).collect();
        let firsts: Vec<(u64, bool)> = gone
            .iter()
            .map(|entry| (entry.trace.first, entry.trace.is_open()))
            .collect();
        for (first, is_open) in firsts {
            self.from = self.from.max(first + 1);
            self.order.remove(&first);
            if is_open {
                self.open.remove(&first);
            }
        }
        for entry in gone.iter().filter(|entry| entry.trace.is_open()) {
            for operation in entry.trace.running_in() {
                self.operations.closed(operation);
            }
        }
        if self.traces.is_empty() {
            // No trace is left, so the tables' memory is freed.
            self.traces = Map::default();
            self.changed = ChangeLog::default();
            self.spare = Vec::new();
            return;
        }
        let room = SPARE_MAX.saturating_sub(self.spare.len());
        self.spare
            .extend(gone.into_iter().take(room).map(|mut entry| {
                entry.trace.clear();
                entry
            }));
    }

    /// Returns whether the change ended its trace.
    fn apply(&mut self, sequence: u64, change: &SpanChange, version: u64) -> bool {
        if let ChangeKind::Log(severity) = change.kind {
            self.logs.add(LogRecordPosition {
                sequence,
                severity,
                trace_id: change.trace_id,
            });
            if change.trace_id == [0; 16] {
                return false;
            }
        }
        let operation = match &change.kind {
            ChangeKind::Started(start) => self.operations.of_start(start),
            ChangeKind::Ended { start, outcome, .. } => {
                let run = EndedSpan::of(change, start, *outcome);
                self.operations.record(start, run);
                OperationId::NONE
            }
            ChangeKind::Updated(_) | ChangeKind::Log(_) | ChangeKind::Other => OperationId::NONE,
        };
        let entry = self.traces.entry(change.trace_id).or_insert_with(|| {
            self.order.insert(sequence, change.trace_id);
            let entry = IndexEntry {
                trace: Trace::new(sequence),
                version: NO_VERSION,
            };
            if let Some(mut spare) = self.spare.pop() {
                *spare = entry;
                spare
            } else {
                Box::new(entry)
            }
        });
        let is_logged = entry.version == version;
        entry.version = version;
        let was_open = entry.trace.is_open();
        match entry.trace.apply_counted(change, sequence, operation) {
            RunningChange::Opened => self.operations.opened(operation),
            RunningChange::Closed(operation) => self.operations.closed(operation),
            RunningChange::None => {}
        }
        let is_open = entry.trace.is_open();
        match (was_open, is_open) {
            (false, true) => drop(self.open.insert(entry.trace.first)),
            (true, false) => drop(self.open.remove(&entry.trace.first)),
            _ => {}
        }
        if !is_logged {
            self.log_change(version, change.trace_id);
        }
        !is_open && matches!(change.kind, ChangeKind::Ended { .. })
    }

    fn log_change(&mut self, version: u64, id: [u8; 16]) {
        self.changed.push(version, id, &self.traces);
    }

    /// Returns the traces that changed after this version.
    pub(super) fn changed_after(&self, version: u64) -> impl Iterator<Item = [u8; 16]> {
        self.changed.after(version)
    }
}

#[cfg(test)]
mod tests;
