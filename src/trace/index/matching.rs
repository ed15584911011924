//! Looks for traces that match: failed ones, those whose id begins with some digits, those that have changed. It runs on
//! the task of a request, and holds the index only while it looks.

use std::sync::atomic::Ordering;

use crate::{
    trace::{filter::TraceFilter, index::TraceIndex},
    util::{hex, sync::read, time::Timestamp},
};

impl TraceIndex {
    /// Returns the newest traces that have failed spans and an event after this one, and how many such traces there are.
    pub(crate) fn failed(
        &self,
        filter: &TraceFilter,
        after: u64,
        limit: usize,
    ) -> (Vec<[u8; 16]>, usize) {
        let now = Timestamp::now();
        let state = read(&self.state);
        let mut failed = Vec::new();
        let mut count = 0;
        for id in state.order.values().rev() {
            let Some(entry) = state.traces.get(id) else {
                continue;
            };
            let trace = &entry.trace;
            if trace.last > after && trace.errors() > 0 && filter.accepts(id, trace, now) {
                count += 1;
                if failed.len() < limit {
                    failed.push(*id);
                }
            }
        }
        (failed, count)
    }

    /// Returns the traces that the filter accepts and whose ids begin with these digits, at most `limit`.
    pub(crate) fn beginning_with(
        &self,
        digits: &str,
        filter: &TraceFilter,
        limit: usize,
    ) -> Vec<[u8; 16]> {
        let now = Timestamp::now();
        let state = read(&self.state);
        let found = state.traces.iter().filter(|(id, entry)| {
            hex::encode(*id).starts_with(digits) && filter.accepts(id, &entry.trace, now)
        });
        found.map(|(id, _)| *id).take(limit).collect()
    }

    /// Returns whether the filter accepts a trace that has an event after this one.
    pub(crate) fn has_match(&self, filter: &TraceFilter, after: u64) -> bool {
        let now = Timestamp::now();
        let state = read(&self.state);
        let mut newest_first = state.order.values().rev();
        newest_first.any(|id| {
            let entry = state.traces.get(id);
            entry.is_some_and(|entry| {
                entry.trace.last > after && filter.accepts(id, &entry.trace, now)
            })
        })
    }

    /// Returns the time of the newest event of the traces that the filter accepts.
    pub(crate) fn newest_time(&self, filter: &TraceFilter) -> Option<Timestamp> {
        let now = Timestamp::now();
        let state = read(&self.state);
        let accepted = state.traces.iter();
        let accepted = accepted.filter(|(id, entry)| filter.accepts(id, &entry.trace, now));
        accepted.map(|(_, entry)| entry.trace.newest).max()
    }

    /// Returns whether a trace that the filter accepts has changed after this version, and the version of now.
    pub(crate) fn changed_since(&self, filter: &TraceFilter, version: u64) -> (bool, u64) {
        let now = Timestamp::now();
        let state = read(&self.state);
        let newest = self.version.load(Ordering::Acquire);
        let mut changed = state.changed_after(version);
        let has_changed = changed.any(|id| {
            let entry = state.traces.get(&id);
            entry.is_some_and(|entry| filter.accepts(&id, &entry.trace, now))
        });
        (has_changed, newest)
    }
}
