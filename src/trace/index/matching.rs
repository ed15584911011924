//! Looks in the index for traces and log records that match a filter and a condition, such as
//! failed or slow traces. It runs on the task of a request, and locks the index only while it looks.

use std::{collections::HashMap, ops::Range, sync::atomic::Ordering};

use crate::{
    trace::{
        filter::TraceFilter,
        index::{IndexState, TraceIndex},
        logs::positions::LogRecordPosition,
        operations::histogram::DurationHistogram,
        state::Trace,
    },
    util::{hex, sync::read, time::Timestamp},
};

/// A span is far slower than usual if its duration is more than this many times `p95`, and at least
/// [`FAR_SLOWER_NANOS`] longer than `p95`. 95 % of the spans with its name take no longer than
/// `p95`.
const FAR_SLOWER: u64 = 2;
/// The least difference from `p95`, in nanoseconds: 10 ms. A busy machine alone may cause shorter
/// delays.
const FAR_SLOWER_NANOS: u64 = 10_000_000;

/// Returns whether a duration is far longer than `p95`, the duration that 95 % of such spans do not
/// exceed.
pub(crate) fn is_far_slower(took: u64, p95: u64) -> bool {
    took > p95.saturating_mul(FAR_SLOWER) && took - p95 >= FAR_SLOWER_NANOS
}

/// Returns the newest wanted traces, at most `limit`, and the number of all wanted traces.
fn newest<'a>(
    state: &'a IndexState,
    limit: usize,
    mut is_wanted: impl FnMut(&[u8; 16], &'a Trace) -> bool,
) -> (Vec<[u8; 16]>, usize) {
    let mut found = Vec::new();
    let mut count = 0;
    for id in state.order.values().rev() {
        let entry = state.traces.get(id);
        if entry.is_some_and(|entry| is_wanted(id, &entry.trace)) {
            count += 1;
            if found.len() < limit {
                found.push(*id);
            }
        }
    }
    (found, count)
}

impl TraceIndex {
    /// Returns the newest ended traces that took far longer than roots of their name usually do and
    /// have an event after the sequence `after`. Also returns the number of all such traces.
    pub(crate) fn slow(
        &self,
        filter: &TraceFilter,
        after: u64,
        limit: usize,
    ) -> (Vec<[u8; 16]>, usize) {
        let now = Timestamp::now();
        let state = read(&self.state);
        let mut usual: HashMap<(&str, &str), Option<u64>> = HashMap::new();
        newest(&state, limit, |id, trace| {
            if trace.last <= after || trace.is_open() {
                return false;
            }
            let name = (trace.service_name(), trace.name());
            let p95 = usual.entry(name).or_insert_with(|| {
                let durations = state.operations.get(name.0, name.1)?.durations();
                let is_known = durations.count() >= DurationHistogram::USUAL_SPANS_MIN;
                is_known.then(|| durations.quantile(95)).flatten()
            });
            let took = trace.duration_nanos(now);
            p95.is_some_and(|p95| is_far_slower(took, p95)) && filter.accepts(id, trace, now)
        })
    }

    /// Returns the sequences of the newest log records in the range that have at least this
    /// severity. If the filter has a condition, returns only log records of traces that it accepts.
    pub(crate) fn positions_of_logs(
        &self,
        severity_min: u8,
        filter: &TraceFilter,
        range: Range<u64>,
        limit: usize,
    ) -> Vec<u64> {
        let now = Timestamp::now();
        let state = read(&self.state);
        let positions = state.logs.before(range.end);
        let positions = positions.take_while(|position| position.sequence >= range.start);
        let loud = positions.filter(|position| position.severity >= severity_min);
        let accepts_all = filter.accepts_all();
        let accepted = loud.filter(|LogRecordPosition { trace_id, .. }| {
            let trace = state.traces.get(trace_id);
            accepts_all || trace.is_some_and(|entry| filter.accepts(trace_id, &entry.trace, now))
        });
        accepted
            .map(|position| position.sequence)
            .take(limit)
            .collect()
    }

    /// Returns the newest traces that have failed spans and an event after the sequence `after`.
    /// Also returns the number of all such traces.
    pub(crate) fn failed(
        &self,
        filter: &TraceFilter,
        after: u64,
        limit: usize,
    ) -> (Vec<[u8; 16]>, usize) {
        let now = Timestamp::now();
        let state = read(&self.state);
        newest(&state, limit, |id, trace| {
            trace.last > after && trace.errors() > 0 && filter.accepts(id, trace, now)
        })
    }

    /// Returns at most `limit` traces that the filter accepts and whose ids begin with these
    /// digits.
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

    /// Returns whether the filter accepts a trace that has an event after the sequence `after`.
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

    /// Returns whether a trace that the filter accepts has changed after this version. Also returns
    /// the current version.
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
