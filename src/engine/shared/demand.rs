//! Demand: the events of a shared store that this process needs. While a reader in this process reads everything, all
//! events are needed. Otherwise only the streams that this process reads are needed. Readers and the follower threads
//! call it. It does no I/O and starts no thread.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use crate::{
    log::event::StreamKey,
    util::sync::{Condvar, Mutex, lock},
    wire::id::Sequence,
};

/// The current demand. Once it is closed, no call waits.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    state: Mutex<DemandState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct DemandState {
    /// Number of readers of everything.
    all: usize,
    /// Whether this process has read all events that the store had when the first reader of everything started.
    has_caught_up: bool,
    /// The streams that are read here, with the number of their readers and the position up to which each has been
    /// read.
    streams: HashMap<StreamKey, WatchedStream>,
    closed: bool,
}

#[derive(Debug, Default)]
struct WatchedStream {
    readers: usize,
    seen: Sequence,
}

impl Demand {
    pub(crate) fn add_reader_of_all(&self) {
        lock(&self.state).all += 1;
        self.changed.notify_all();
    }

    pub(crate) fn remove_reader_of_all(&self) {
        let mut state = lock(&self.state);
        state.all = state.all.saturating_sub(1);
        state.has_caught_up &= state.all > 0;
    }

    /// Records that this process has read all events that the store had when the first reader of everything started.
    pub(crate) fn note_caught_up(&self) {
        let mut state = lock(&self.state);
        state.has_caught_up = state.all > 0;
    }

    pub(crate) fn has_caught_up(&self) -> bool {
        lock(&self.state).has_caught_up
    }

    /// Returns whether a reader reads everything.
    pub(crate) fn is_all_wanted(&self) -> bool {
        lock(&self.state).all > 0
    }

    /// Adds a reader of the stream. Returns whether it is the stream's first reader; if so, the follower's current wait
    /// in the store does not include the stream.
    pub(crate) fn add_stream_reader(&self, key: &StreamKey) -> bool {
        let mut state = lock(&self.state);
        let watched = state.streams.entry(*key).or_default();
        watched.readers += 1;
        let new = watched.readers == 1;
        self.changed.notify_all();
        new
    }

    pub(crate) fn remove_stream_reader(&self, key: &StreamKey) {
        let mut state = lock(&self.state);
        if let Some(watched) = state.streams.get_mut(key) {
            watched.readers = watched.readers.saturating_sub(1);
            if watched.readers == 0 {
                state.streams.remove(key);
            }
        }
    }

    /// Returns the watched streams and the positions up to which each has been read.
    pub(crate) fn cursors(&self) -> Vec<(StreamKey, Sequence)> {
        let state = lock(&self.state);
        let cursors = state.streams.iter();
        cursors.map(|(key, watched)| (*key, watched.seen)).collect()
    }

    pub(crate) fn note_seen(&self, key: &StreamKey, seen: Sequence) {
        if let Some(watched) = lock(&self.state).streams.get_mut(key) {
            watched.seen = watched.seen.max(seen);
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Waits until a reader wants everything. Returns `false` when the demand is closed.
    pub(crate) fn await_all(&self) -> bool {
        self.wait(|state| state.all > 0)
    }

    /// Waits until a reader wants a stream. Returns `false` when the demand is closed.
    pub(crate) fn await_streams(&self) -> bool {
        self.wait(|state| !state.streams.is_empty())
    }

    fn wait(&self, is_wanted: impl Fn(&DemandState) -> bool) -> bool {
        let mut state = lock(&self.state);
        while !state.closed && !is_wanted(&state) {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    /// Pauses for `time`, or until the demand is closed.
    pub(crate) fn back_off(&self, time: Duration) {
        let state = lock(&self.state);
        drop(
            self.changed
                .wait_timeout_while(state, time, |state| !state.closed),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_watched_as_long_as_someone_reads_it() {
        let demand = Demand::default();
        let key = StreamKey::new("a").unwrap();
        assert!(demand.add_stream_reader(&key));
        assert!(
            !demand.add_stream_reader(&key),
            "the second reader counts as the first"
        );
        demand.note_seen(&key, Sequence::new(7));
        demand.note_seen(&key, Sequence::new(5));
        assert_eq!(demand.cursors(), [(key, Sequence::new(7))]);
        demand.remove_stream_reader(&key);
        assert_eq!(demand.cursors().len(), 1);
        demand.remove_stream_reader(&key);
        assert_eq!(demand.cursors(), []);
        demand.note_seen(&key, Sequence::new(9));
        assert!(
            demand.add_stream_reader(&key),
            "the stream kept a reader after the last one left"
        );
        assert_eq!(demand.cursors(), [(key, Sequence::START)]);
    }

    #[test]
    fn the_first_reader_after_a_pause_must_catch_up_again() {
        let demand = Demand::default();
        demand.note_caught_up();
        assert!(
            !demand.has_caught_up(),
            "caught up without a reader of everything"
        );
        demand.add_reader_of_all();
        demand.add_reader_of_all();
        demand.note_caught_up();
        demand.remove_reader_of_all();
        assert!(
            demand.has_caught_up(),
            "the state was lost although a reader of everything is left"
        );
        demand.remove_reader_of_all();
        demand.add_reader_of_all();
        assert!(!demand.has_caught_up());
    }

    #[test]
    fn closing_ends_every_wait() {
        let demand = Demand::default();
        demand.add_reader_of_all();
        assert!(demand.await_all());
        demand.remove_reader_of_all();
        demand.close();
        assert!(!demand.await_all() && !demand.await_streams());
        demand.back_off(Duration::from_secs(3600));
    }
}
