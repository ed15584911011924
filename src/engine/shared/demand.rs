//! What is wanted of a store that others append to as well: everything, while someone reads everything, or the streams
//! that someone reads. It knows no store and no thread.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use crate::{
    log::event::StreamKey,
    util::sync::{Condvar, Mutex, lock},
    wire::id::Sequence,
};

/// Who wants what, and whether it was closed.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    wants: Mutex<DemandState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct DemandState {
    /// Readers of everything.
    all: usize,
    /// Whether what stood in the store when the first of them came has been taken in.
    has_caught_up: bool,
    /// Readers of single streams, and how far the watch has seen each of these.
    streams: HashMap<StreamKey, WatchedStream>,
    closed: bool,
}

#[derive(Debug, Default)]
struct WatchedStream {
    readers: usize,
    seen: Sequence,
}

impl Demand {
    pub(crate) fn want_all(&self) {
        lock(&self.wants).all += 1;
        self.changed.notify_all();
    }

    pub(crate) fn release_all(&self) {
        let mut wants = lock(&self.wants);
        wants.all = wants.all.saturating_sub(1);
        wants.has_caught_up &= wants.all > 0;
    }

    /// Notes that everything has been taken in that stood in the store when someone came to read everything.
    pub(crate) fn note_caught_up(&self) {
        let mut wants = lock(&self.wants);
        wants.has_caught_up = wants.all > 0;
    }

    pub(crate) fn has_caught_up(&self) -> bool {
        lock(&self.wants).has_caught_up
    }

    /// Whether someone reads everything.
    pub(crate) fn wants_all(&self) -> bool {
        lock(&self.wants).all > 0
    }

    /// Whether the stream is a new one: a wait that goes on does not know of it.
    pub(crate) fn want(&self, key: &StreamKey) -> bool {
        let mut wants = lock(&self.wants);
        let watched = wants.streams.entry(*key).or_default();
        watched.readers += 1;
        let new = watched.readers == 1;
        self.changed.notify_all();
        new
    }

    pub(crate) fn release(&self, key: &StreamKey) {
        let mut wants = lock(&self.wants);
        if let Some(watched) = wants.streams.get_mut(key) {
            watched.readers = watched.readers.saturating_sub(1);
            if watched.readers == 0 {
                wants.streams.remove(key);
            }
        }
    }

    /// The streams that are watched and the places up to which their readers know of events.
    pub(crate) fn places(&self) -> Vec<(StreamKey, Sequence)> {
        let wants = lock(&self.wants);
        let places = wants.streams.iter();
        places.map(|(key, watched)| (*key, watched.seen)).collect()
    }

    pub(crate) fn saw(&self, key: &StreamKey, seen: Sequence) {
        if let Some(watched) = lock(&self.wants).streams.get_mut(key) {
            watched.seen = watched.seen.max(seen);
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.wants).closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.wants).closed
    }

    /// Waits until someone wants everything; false when it was closed.
    pub(crate) fn await_all(&self) -> bool {
        self.wait(|wants| wants.all > 0)
    }

    /// Waits until someone wants a stream; false when it was closed.
    pub(crate) fn await_streams(&self) -> bool {
        self.wait(|wants| !wants.streams.is_empty())
    }

    fn wait(&self, is_wanted: impl Fn(&DemandState) -> bool) -> bool {
        let mut wants = lock(&self.wants);
        while !wants.closed && !is_wanted(&wants) {
            let waited = self.changed.wait(wants);
            wants = waited.unwrap_or_else(PoisonError::into_inner);
        }
        !wants.closed
    }

    /// Rests, unless it is closed meanwhile.
    pub(crate) fn rest(&self, time: Duration) {
        let wants = lock(&self.wants);
        drop(
            self.changed
                .wait_timeout_while(wants, time, |wants| !wants.closed),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_watched_as_long_as_someone_reads_it() {
        let following = Demand::default();
        let key = StreamKey::new("a").unwrap();
        assert!(following.want(&key));
        assert!(!following.want(&key), "it is watched already");
        following.saw(&key, Sequence::new(7));
        following.saw(&key, Sequence::new(5));
        assert_eq!(following.places(), [(key, Sequence::new(7))]);
        following.release(&key);
        assert_eq!(following.places().len(), 1);
        following.release(&key);
        assert_eq!(following.places(), []);
        following.saw(&key, Sequence::new(9));
        assert!(following.want(&key), "it begins anew");
        assert_eq!(following.places(), [(key, Sequence::START)]);
    }

    #[test]
    fn who_comes_back_has_to_catch_up_again() {
        let following = Demand::default();
        following.note_caught_up();
        assert!(!following.has_caught_up(), "nobody came");
        following.want_all();
        following.want_all();
        following.note_caught_up();
        following.release_all();
        assert!(following.has_caught_up(), "one is still here");
        following.release_all();
        following.want_all();
        assert!(!following.has_caught_up());
    }

    #[test]
    fn closing_ends_every_wait() {
        let following = Demand::default();
        following.want_all();
        assert!(following.await_all());
        following.release_all();
        following.close();
        assert!(!following.await_all() && !following.await_streams());
        following.rest(Duration::from_secs(3600));
    }
}
