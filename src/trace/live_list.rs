//! The live list: the changes for a viewer of the newest and of the open traces. It runs on the
//! viewer's task a few times a second. It examines only traces that changed, and older traces only
//! when the viewer's list has become shorter.
//!
//! One update filters at most [`TRACES_AT_ONCE`] changed or older traces under one lock, because
//! the worker thread needs the lock for every batch. The viewer's own lists are short, and each is
//! compared under one lock.

use std::sync::atomic::Ordering;

use crate::{
    trace::{
        filter::TraceFilter,
        index::{IndexState, TraceIndex},
        summary::Summary,
    },
    util::{hash::Map, sync::read, time::Timestamp},
    wire::id::EventId,
};

/// Upper bound on the traces that are filtered under one lock. This takes about ten microseconds.
const TRACES_AT_ONCE: usize = 256;

/// Upper bound on the open traces that one update filters again. An update filters them again only if
/// the filter compares durations, which grow without events.
const OPEN_AT_ONCE: usize = 1_000;

/// The place of the traces that are older than the viewer's newest ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// The index knows more traces before this event.
    Indexed(u64),
    /// Only the store may know traces before this event.
    Stored(u64),
}

/// The changes for one viewer of the live list.
#[derive(Debug)]
pub(crate) struct ListChanges {
    pub(crate) traces: Vec<Summary>,
    pub(crate) removed: Vec<[u8; 16]>,
    /// The event before which there may be more traces.
    pub(crate) older: Older,
}

/// The state of one viewer of the live list: the traces that it was sent and the traces that it
/// follows.
#[derive(Debug)]
pub(crate) struct ViewerState {
    /// The version of the index at the last update; `None` before the first.
    version: Option<u64>,
    /// The traces that were last sent, and whether they were open then.
    pub(super) sent: Map<[u8; 16], bool>,
    /// The newest traces that the filter accepts, by first event, newest first. The list has one
    /// trace more than is shown.
    newest: Vec<(u64, [u8; 16])>,
    /// `newest` has every such trace that begins with this event or a later one.
    floor: u64,
    /// The oldest open traces that the filter accepts, oldest first.
    open: Vec<(u64, [u8; 16])>,
    /// `open` has every such trace that begins before this event.
    ceiling: u64,
    /// The next open trace to be filtered again begins with this event or a later one.
    compared: u64,
    /// How many times a trace was compared with the filter.
    pub(super) comparisons: u64,
}

impl Default for ViewerState {
    fn default() -> Self {
        Self {
            version: None,
            sent: Map::default(),
            newest: Vec::new(),
            floor: u64::MAX,
            open: Vec::new(),
            ceiling: 0,
            compared: 0,
            comparisons: 0,
        }
    }
}

/// One update of a viewer.
struct ListDiff<'a> {
    index: &'a TraceIndex,
    filter: &'a TraceFilter,
    limit: usize,
    now: Timestamp,
}

impl TraceIndex {
    /// Returns the changes for a viewer of the newest and of the open traces, and updates the
    /// viewer.
    pub(crate) fn changes(
        &self,
        viewed: &mut ViewerState,
        filter: &TraceFilter,
        limit: usize,
        to_id: impl Fn(u64) -> EventId,
    ) -> ListChanges {
        let diff = ListDiff {
            index: self,
            filter,
            limit,
            now: Timestamp::now(),
        };
        // The version is read before the traces, so that the next update sees any later change.
        let version = self.version.load(Ordering::Acquire);
        diff.update(viewed);
        let changes = diff.compare_with_sent(viewed, to_id);
        viewed.version = Some(version);
        changes
    }
}

impl ListDiff<'_> {
    /// Brings the viewer's traces up to date.
    fn update(&self, viewed: &mut ViewerState) {
        let mut changed: Vec<[u8; 16]> = Vec::new();
        if let Some(version) = viewed.version {
            let state = read(&self.index.state);
            changed.extend(state.changed_after(version));
            if self.filter.depends_on_time() {
                let open = state.open.range(viewed.compared..).take(OPEN_AT_ONCE);
                let open: Vec<u64> = open.copied().collect();
                let is_last = open.len() < OPEN_AT_ONCE;
                let last = open.last().filter(|_| !is_last);
                viewed.compared = last.map_or(0, |last| last + 1);
                changed.extend(open.iter().filter_map(|first| state.order.get(first)));
            }
        }
        for ids in changed.chunks(TRACES_AT_ONCE) {
            let state = read(&self.index.state);
            for id in ids {
                self.add(&state, viewed, id);
            }
        }
        self.remove_unwanted(viewed);
        self.fill_newest(viewed);
        self.fill_open(viewed);
    }

    /// Returns the first event of the trace if the filter accepts it.
    fn first_if_wanted(
        &self,
        state: &IndexState,
        viewed: &mut ViewerState,
        id: &[u8; 16],
    ) -> Option<u64> {
        viewed.comparisons += 1;
        let entry = state.traces.get(id)?;
        let is_wanted = self.filter.accepts(id, &entry.trace, self.now);
        is_wanted.then_some(entry.trace.first)
    }

    /// Adds a changed trace to each list whose covered range contains it.
    fn add(&self, state: &IndexState, viewed: &mut ViewerState, id: &[u8; 16]) {
        let Some(first) = self.first_if_wanted(state, viewed, id) else {
            return;
        };
        if first >= viewed.floor {
            viewed.newest.push((first, *id));
        }
        if first < viewed.ceiling && state.open.contains(&first) {
            viewed.open.push((first, *id));
        }
    }

    fn remove_unwanted(&self, viewed: &mut ViewerState) {
        let mut newest = std::mem::take(&mut viewed.newest);
        let mut open = std::mem::take(&mut viewed.open);
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.dedup();
        open.sort_unstable();
        open.dedup();
        let state = read(&self.index.state);
        newest.retain(|(first, id)| self.first_if_wanted(&state, viewed, id) == Some(*first));
        open.retain(|(first, id)| {
            state.open.contains(first) && self.first_if_wanted(&state, viewed, id) == Some(*first)
        });
        drop(state);
        newest.truncate(self.limit + 1);
        if let Some((last, _)) = newest.get(self.limit) {
            viewed.floor = *last;
        }
        open.truncate(self.limit);
        if let (Some((last, _)), true) = (open.last(), open.len() == self.limit) {
            viewed.ceiling = last + 1;
        }
        viewed.newest = newest;
        viewed.open = open;
    }

    /// Filters older traces until the list is full, or none is left.
    fn fill_newest(&self, viewed: &mut ViewerState) {
        while viewed.newest.len() <= self.limit && viewed.floor > 0 {
            let state = read(&self.index.state);
            let older = state.order.range(..viewed.floor).rev();
            let older = older.take(TRACES_AT_ONCE);
            let mut floor = 0;
            let mut count = 0;
            for (first, id) in older {
                count += 1;
                floor = *first;
                if self.first_if_wanted(&state, viewed, id).is_some() {
                    viewed.newest.push((*first, *id));
                    if viewed.newest.len() > self.limit {
                        break;
                    }
                }
            }
            let is_over = count < TRACES_AT_ONCE && viewed.newest.len() <= self.limit;
            viewed.floor = if is_over { 0 } else { floor };
        }
    }

    /// Filters newer open traces until the list is full, or none is left.
    fn fill_open(&self, viewed: &mut ViewerState) {
        while viewed.open.len() < self.limit && viewed.ceiling < u64::MAX {
            let state = read(&self.index.state);
            let newer = state.open.range(viewed.ceiling..).take(TRACES_AT_ONCE);
            let mut ceiling = viewed.ceiling;
            let mut count = 0;
            for first in newer {
                count += 1;
                ceiling = first + 1;
                if let Some(id) = state.order.get(first)
                    && self.first_if_wanted(&state, viewed, id).is_some()
                {
                    viewed.open.push((*first, *id));
                    if viewed.open.len() == self.limit {
                        break;
                    }
                }
            }
            let is_over = count < TRACES_AT_ONCE && viewed.open.len() < self.limit;
            viewed.ceiling = if is_over { u64::MAX } else { ceiling };
        }
    }

    /// Returns the viewer's traces that changed since they were sent, and the traces to remove.
    fn compare_with_sent(
        &self,
        viewed: &mut ViewerState,
        to_id: impl Fn(u64) -> EventId,
    ) -> ListChanges {
        let state = read(&self.index.state);
        let older = match viewed.newest.get(self.limit) {
            Some(_) => viewed.newest.get(self.limit.saturating_sub(1)),
            None => None,
        };
        let older = match (older, viewed.floor) {
            (Some((first, _)), _) => Older::Indexed(*first),
            (None, _) => Older::Stored(state.from),
        };
        let newest = viewed.newest.iter().take(self.limit);
        let ids = newest.chain(&viewed.open).map(|(_, id)| *id);
        let mut ids: Vec<[u8; 16]> = ids.collect();
        // A trace that has ended since it was sent is sent once more. A trace that no longer matches
        // is removed.
        let were_open = viewed.sent.iter().filter(|(_, open)| **open);
        ids.extend(were_open.map(|(id, _)| *id));
        let wanted = |id: &[u8; 16]| {
            let entry = state.traces.get(id);
            entry.is_some_and(|entry| self.filter.accepts(id, &entry.trace, self.now))
        };
        let mut changes = ListChanges {
            traces: Vec::new(),
            removed: Vec::new(),
            older,
        };
        let mut sent = Map::default();
        sent.reserve(ids.len());
        for id in ids {
            let Some(entry) = state.traces.get(&id).filter(|_| wanted(&id)) else {
                continue;
            };
            let is_new = sent.insert(id, entry.trace.is_open()).is_none();
            let is_changed = viewed.version.is_none_or(|version| entry.version > version);
            if is_new && (is_changed || !viewed.sent.contains_key(&id)) {
                changes.traces.push(entry.trace.summary(id, &to_id));
            }
        }
        let gone = |id: &&[u8; 16]| {
            !sent.contains_key(*id) && (!state.traces.contains_key(*id) || !wanted(id))
        };
        changes.removed = viewed.sent.keys().filter(gone).copied().collect();
        viewed.sent = sent;
        changes
    }
}
