//! All traces at a glance: written by the worker before the events are visible, read by the list routes. Bounded by
//! what the log retains: a trace goes when its last event goes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    spans::{
        durations::{Durations, Quantiles},
        query::TraceFilter,
        summary::{Change, Fact, Outcome, Summary, Trace},
    },
    sse::{
        event::StreamKey,
        id::EventId,
        keys::{Waiter, Waiters},
    },
    sync::{read, write},
    time::Timestamp,
};

#[derive(Debug, Default)]
pub(crate) struct TraceIndex {
    state: RwLock<State>,
    /// Counts changes, so that a viewer knows what it has not seen.
    version: AtomicU64,
    waiters: Waiters,
}

#[derive(Debug, Default)]
struct State {
    traces: HashMap<[u8; 16], Entry>,
    /// By first event: the order of the list.
    order: BTreeMap<u64, [u8; 16]>,
    open: BTreeSet<u64>,
    durations: Durations,
}

#[derive(Debug)]
struct Entry {
    trace: Trace,
    version: u64,
}

/// One page of the list.
#[derive(Debug)]
pub(crate) struct TracePage {
    pub(crate) traces: Vec<Summary>,
    /// Where the next page begins, if there is more.
    pub(crate) next: Option<u64>,
}

/// What changed for one viewer of the live list.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) traces: Vec<Summary>,
    pub(crate) removed: Vec<[u8; 16]>,
}

/// What one viewer of the live list has seen.
#[derive(Debug, Default)]
pub(crate) struct Viewed {
    version: u64,
    /// Traces that were last sent, and whether they were open then.
    sent: HashMap<[u8; 16], bool>,
}

impl TraceIndex {
    /// Takes in facts with their places in the log.
    pub(crate) fn apply(&self, facts: impl Iterator<Item = (u64, Fact)>) {
        let version = self.version.load(Ordering::Acquire) + 1;
        let mut state = write(&self.state);
        for (sequence, fact) in facts {
            state.apply(sequence, &fact, version);
        }
        drop(state);
        self.changed(version);
    }

    /// Forgets traces of which the log holds nothing any more.
    pub(crate) fn forget(&self, keys: &[StreamKey]) {
        if keys.is_empty() {
            return;
        }
        let version = self.version.load(Ordering::Acquire) + 1;
        let mut state = write(&self.state);
        for id in keys.iter().filter_map(|key| <[u8; 16]>::try_from(key.as_bytes()).ok()) {
            if let Some(entry) = state.traces.remove(&id) {
                state.order.remove(&entry.trace.first);
                state.open.remove(&entry.trace.first);
            }
        }
        drop(state);
        self.changed(version);
    }

    fn changed(&self, version: u64) {
        self.version.store(version, Ordering::Release);
        self.waiters.wake();
    }

    pub(crate) fn join(&self, waiter: &Arc<Waiter>) {
        self.waiters.join(waiter);
    }

    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) {
        self.waiters.leave(waiter);
    }

    /// Whether the trace is complete and a reader at `after` has read all of it.
    pub(crate) fn is_complete(&self, id: [u8; 16], after: u64) -> bool {
        let state = read(&self.state);
        let entry = state.traces.get(&id);
        entry.is_some_and(|entry| entry.trace.last <= after && entry.trace.is_complete())
    }

    pub(crate) fn summary(&self, id: [u8; 16], to_id: impl Fn(u64) -> EventId) -> Option<Summary> {
        read(&self.state).traces.get(&id).map(|entry| entry.trace.summary(id, to_id))
    }

    /// The newest traces that the filter accepts, from before the event `before` on.
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
            let Some(entry) = state.traces.get(id) else { continue };
            if !filter.accepts(id, &entry.trace, now) {
                continue;
            }
            if traces.len() == limit {
                // The next page begins before the last trace of this one.
                next = Some(first + 1);
                break;
            }
            traces.push(entry.trace.summary(*id, &to_id));
        }
        TracePage { traces, next }
    }

    /// What a viewer of the newest and of the open traces has not seen.
    pub(crate) fn changes(
        &self,
        viewed: &mut Viewed,
        filter: &TraceFilter,
        limit: usize,
        to_id: impl Fn(u64) -> EventId,
    ) -> Changes {
        let now = Timestamp::now();
        let state = read(&self.state);
        let version = self.version.load(Ordering::Acquire);
        let wanted = |id: &[u8; 16]| {
            state.traces.get(id).is_some_and(|entry| filter.accepts(id, &entry.trace, now))
        };
        let newest = state.order.values().rev().filter(|id| wanted(id)).take(limit).copied();
        let open = state.open.iter().filter_map(|first| state.order.get(first));
        let open = open.filter(|id| wanted(id)).take(limit).copied();
        let mut ids: Vec<[u8; 16]> = newest.chain(open).collect();
        // A trace that ended or left the filter since it was sent is sent once more, or removed.
        ids.extend(viewed.sent.iter().filter(|(_, open)| **open).map(|(id, _)| *id));
        let mut changes = Changes::default();
        let mut sent = HashMap::with_capacity(ids.len());
        for id in ids {
            let Some(entry) = state.traces.get(&id).filter(|_| wanted(&id)) else { continue };
            let is_new = sent.insert(id, entry.trace.is_open()).is_none();
            if is_new && (entry.version > viewed.version || !viewed.sent.contains_key(&id)) {
                changes.traces.push(entry.trace.summary(id, &to_id));
            }
        }
        let gone = |id: &&[u8; 16]| !sent.contains_key(*id) && (!state.traces.contains_key(*id) || !wanted(id));
        changes.removed = viewed.sent.keys().filter(gone).copied().collect();
        viewed.sent = sent;
        viewed.version = version;
        changes
    }

    pub(crate) fn quantiles(&self, service: &str, name: &str) -> Quantiles {
        read(&self.state).durations.quantiles(service, name)
    }
}

impl State {
    fn apply(&mut self, sequence: u64, fact: &Fact, version: u64) {
        if let Change::Ended { begun, outcome } = &fact.change
            && *outcome != Outcome::Lost
        {
            let nanos = fact.time.nanos().saturating_sub(begun.start.nanos());
            self.durations.record(&begun.service, &begun.name, nanos);
        }
        let entry = self.traces.entry(fact.trace_id).or_insert_with(|| {
            self.order.insert(sequence, fact.trace_id);
            Entry { trace: Trace::new(sequence), version }
        });
        entry.version = version;
        entry.trace.apply(fact, sequence);
        if entry.trace.is_open() {
            self.open.insert(entry.trace.first);
        } else {
            self.open.remove(&entry.trace.first);
        }
    }
}
