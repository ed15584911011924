//! The index by stream: where each stream's events stand, and who waits for them. Written by the worker thread,
//! read by subscribers.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    hash::RandomState,
    sse::event::StreamKey,
    sync::{
        DashMap, MapEntry, Mutex, StaticCounter,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        guard, lock,
    },
};

/// One stream of the log.
#[derive(Debug)]
pub(crate) struct Key {
    id: StreamKey,
    state: Mutex<KeyState>,
}

#[derive(Debug, Default)]
struct KeyState {
    /// The first sequence that this entry can know of: an earlier entry of the same stream may have been forgotten.
    since: u64,
    /// Sequences of the retained events, ascending.
    positions: VecDeque<u64>,
    /// Opening events that wait for their closing one: while there are any, the stream is held.
    open: usize,
    evicted: Evicted,
    /// Whether the stream is in the list of those to wake at the next publication.
    touched: bool,
    waiters: Vec<Arc<Waiter>>,
}

impl KeyState {
    fn is_held(&self) -> bool {
        !self.positions.is_empty() || self.open > 0
    }
}

/// What retention took from one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evicted {
    count: u64,
    first: u64,
    last: u64,
}

impl Evicted {
    pub(crate) fn add(&mut self, sequence: u64) {
        if self.count == 0 {
            self.first = sequence;
        }
        self.count += 1;
        self.last = sequence;
    }

    /// How many of them are in `after + 1..=to`; `None` when only some are, as their places are not kept.
    pub(crate) fn within(self, after: u64, to: u64) -> Option<u64> {
        if self.count == 0 || self.last <= after || to < self.first {
            Some(0)
        } else if after < self.first && self.last <= to {
            Some(self.count)
        } else {
            None
        }
    }
}

/// What one more event changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    /// The stream held nothing before.
    pub(crate) new: bool,
    /// It is the stream's first event since the last publication.
    pub(crate) first_touch: bool,
}

impl Key {
    /// A name on an event that was read back from a store; nobody indexes or waits by it.
    pub(crate) fn detached(id: StreamKey) -> Arc<Self> {
        let key = Self::new(id);
        lock(&key.state).since = u64::MAX;
        key
    }

    fn new(id: StreamKey) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> &StreamKey {
        &self.id
    }

    fn push(&self, sequence: u64) -> Pushed {
        let mut state = lock(&self.state);
        let pushed = Pushed {
            new: !state.is_held(),
            first_touch: !state.touched,
        };
        state.touched = true;
        state.positions.push_back(sequence);
        pushed
    }

    pub(crate) fn opened(&self) {
        lock(&self.state).open += 1;
    }

    pub(crate) fn closed(&self) {
        let mut state = lock(&self.state);
        state.open = state.open.saturating_sub(1);
    }

    /// Sequences in `after..=upto`, at most `limit`.
    pub(crate) fn positions(&self, after: u64, upto: u64, limit: usize) -> Vec<u64> {
        let state = lock(&self.state);
        let from = state.positions.partition_point(|one| *one <= after);
        state
            .positions
            .range(from..)
            .take_while(|one| **one <= upto)
            .take(limit)
            .copied()
            .collect()
    }

    /// How many events of the stream in `after + 1..=to` retention took; `None` when not known.
    pub(crate) fn lost(&self, after: u64, to: u64) -> Option<u64> {
        let state = lock(&self.state);
        if after.saturating_add(1) < state.since {
            return None;
        }
        state.evicted.within(after, to)
    }

    pub(crate) fn is_known(&self) -> bool {
        let state = lock(&self.state);
        state.is_held() || state.evicted.count > 0
    }

    /// Forgets the oldest position; whether the stream now holds nothing.
    pub(crate) fn evict(&self, sequence: u64) -> bool {
        let mut state = lock(&self.state);
        if state.positions.front() == Some(&sequence) {
            state.positions.pop_front();
            state.evicted.add(sequence);
        }
        !state.is_held()
    }

    /// Wakes those who wait for this stream, at a publication.
    pub(crate) fn wake(&self) {
        // A waker is foreign code: it never runs under our lock.
        let waiters = {
            let mut state = lock(&self.state);
            state.touched = false;
            if state.waiters.is_empty() {
                return;
            }
            state.waiters.clone()
        };
        for waiter in waiters {
            waiter.wake();
        }
    }
}

/// A stream in the table. Its name stands in its entry only, so the table is small: ids come and go by chance all over it.
#[derive(Clone, Debug)]
struct Named(Arc<Key>);

impl Borrow<StreamKey> for Named {
    fn borrow(&self) -> &StreamKey {
        &self.0.id
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

/// All streams of the log.
#[derive(Debug)]
pub(crate) struct Keys {
    map: DashMap<Named, (), RandomState>,
    /// The newest sequence of any stream. It is written under the lock of the stream's place in the map, so who
    /// makes an entry there knows that the stream's later events will pass through it.
    newest: AtomicU64,
    retained: AtomicUsize,
    /// Everyone who waits for some stream, for the events that belong to every stream.
    waiters: Waiters,
}

impl Keys {
    pub(crate) fn new(newest: u64) -> Self {
        Self {
            map: DashMap::with_hasher(RandomState::default()),
            newest: AtomicU64::new(newest),
            retained: AtomicUsize::new(0),
            waiters: Waiters::default(),
        }
    }

    /// Adds an event to its stream, which is made when it is not there yet.
    pub(crate) fn push(&self, id: &StreamKey, sequence: u64) -> (Arc<Key>, Pushed) {
        // The map's own lock is held meanwhile, so `forget` cannot remove the entry in between: the event would
        // stand in an entry that no later reader finds.
        if let Some(entry) = self.map.get(id) {
            self.newest.store(sequence, Ordering::Relaxed);
            let key = &entry.key().0;
            let pushed = key.push(sequence);
            return (Arc::clone(key), pushed);
        }
        self.with_entry(
            id,
            || sequence,
            |key| {
                self.newest.store(sequence, Ordering::Relaxed);
                (Arc::clone(key), key.push(sequence))
            },
        )
    }

    /// Uses the entry of a stream, which is made when it is not there yet, under the map's own lock.
    fn with_entry<T>(
        &self,
        id: &StreamKey,
        since: impl FnOnce() -> u64,
        then: impl FnOnce(&Arc<Key>) -> T,
    ) -> T {
        match self.map.entry(Named(Key::new(*id))) {
            MapEntry::Occupied(there) => then(&there.key().0),
            MapEntry::Vacant(place) => {
                lock(&place.key().0.state).since = since();
                then(&place.insert(()).key().0)
            }
        }
    }

    /// Adds another event to a stream that has got one which nobody can have let go yet, so its entry is in the table.
    pub(crate) fn push_again(&self, key: &Key, sequence: u64) -> Pushed {
        self.newest.store(sequence, Ordering::Relaxed);
        key.push(sequence)
    }

    pub(crate) fn get(&self, id: &StreamKey) -> Option<Arc<Key>> {
        self.map.get(id).map(|entry| Arc::clone(&entry.key().0))
    }

    /// Joins the waiters of a stream. The entry of a stream that holds no event lives as long as its waiters.
    pub(crate) fn join(&self, id: &StreamKey, waiter: &Arc<Waiter>) -> Arc<Key> {
        self.waiters.join(waiter);
        // The map's own lock is held while the waiter joins, so `forget` cannot remove the entry in between.
        let since = || self.newest.load(Ordering::Relaxed) + 1;
        self.with_entry(id, since, |key| {
            lock(&key.state).waiters.push(Arc::clone(waiter));
            Arc::clone(key)
        })
    }

    pub(crate) fn leave(&self, key: &Arc<Key>, waiter: &Arc<Waiter>) {
        self.waiters.leave(waiter);
        lock(&key.state)
            .waiters
            .retain(|one| !Arc::ptr_eq(one, waiter));
        self.forget(key);
    }

    /// Wakes everyone who waits for some stream.
    pub(crate) fn wake_all(&self) {
        self.waiters.wake();
    }

    /// Removes the stream if it holds nothing and nobody waits for it.
    pub(crate) fn forget(&self, key: &Key) {
        self.map.remove_if(&key.id, |entry, ()| {
            let state = lock(&entry.0.state);
            !state.is_held() && state.waiters.is_empty()
        });
    }

    pub(crate) fn retained(&self) -> usize {
        self.retained.load(Ordering::Relaxed)
    }

    pub(crate) fn count_new(&self) {
        self.retained.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_gone(&self) {
        self.retained.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A set of bells that ring together, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<BTreeMap<u64, Arc<Waiter>>>);

impl Waiters {
    pub(crate) fn join(&self, waiter: &Arc<Waiter>) {
        lock(&self.0).insert(waiter.number, Arc::clone(waiter));
    }

    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) {
        lock(&self.0).remove(&waiter.number);
    }

    pub(crate) fn wake(&self) {
        let waiters: Vec<Arc<Waiter>> = lock(&self.0).values().map(Arc::clone).collect();
        for waiter in waiters {
            waiter.wake();
        }
    }
}

/// One subscriber's bell.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Later ones have higher numbers.
    number: u64,
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Default for Waiter {
    fn default() -> Self {
        static NEXT: StaticCounter = StaticCounter::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            rung: AtomicBool::default(),
            waker: Mutex::default(),
        }
    }
}

impl Waiter {
    /// Rings the bell. Rings that nobody answered yet are one.
    pub(crate) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let waker = lock(&self.waker).take();
            if let Some(waker) = waker {
                // What panics in it is its own reader's mistake: others are still to be woken, and the log to go on.
                guard(|| waker.wake());
            }
        }
    }

    /// Ready when the bell rang since it was last answered. The caller looks at the log after a ring, never before
    /// it asked here, so no ring is lost.
    pub(crate) fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        {
            let mut waker = lock(&self.waker);
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        if self.rung.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicUsize},
        task::Wake,
        thread,
    };

    use super::*;

    fn id(text: &str) -> StreamKey {
        StreamKey::new(text).unwrap()
    }

    #[test]
    fn a_stream_that_nobody_knows_leaves_nothing_behind_its_readers() {
        let keys = Keys::new(0);
        let (one, two) = (Arc::new(Waiter::default()), Arc::new(Waiter::default()));
        let key = keys.join(&id("a"), &one);
        assert!(Arc::ptr_eq(&key, &keys.join(&id("a"), &two)));
        assert!(!key.is_known());
        keys.leave(&key, &one);
        assert_eq!(keys.map.len(), 1);
        keys.leave(&key, &two);
        assert_eq!((keys.map.len(), lock(&keys.waiters.0).len()), (0, 0));
    }

    #[test]
    fn a_stream_with_events_outlives_its_readers_and_goes_with_its_last_event() {
        let keys = Keys::new(0);
        let waiter = Arc::new(Waiter::default());
        let key = keys.join(&id("a"), &waiter);
        let (same, pushed) = keys.push(&id("a"), 1);
        assert!(Arc::ptr_eq(&key, &same) && pushed.new && pushed.first_touch);
        keys.leave(&key, &waiter);
        assert_eq!(keys.map.len(), 1);
        assert!(key.evict(1));
        keys.forget(&key);
        assert_eq!(keys.map.len(), 0);
    }

    #[test]
    fn an_event_never_lands_in_an_entry_that_is_being_forgotten() {
        let keys = Keys::new(0);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let waiter = Arc::new(Waiter::default());
                while !done.load(Ordering::Relaxed) {
                    let key = keys.join(&id("a"), &waiter);
                    keys.leave(&key, &waiter);
                }
            });
            let lost = (1..=50_000).find(|sequence| {
                let (key, _) = keys.push(&id("a"), *sequence);
                let found = keys.get(&id("a")).map(|key| key.positions(0, u64::MAX, 2));
                key.evict(*sequence);
                keys.forget(&key);
                found != Some(vec![*sequence])
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(lost, None);
        });
    }

    #[test]
    fn a_loss_is_known_exactly_or_not_at_all() {
        let mut evicted = Evicted::default();
        assert_eq!(evicted.within(0, 100), Some(0));
        for sequence in [10, 20, 30] {
            evicted.add(sequence);
        }
        let cases = [
            ((0, 9), Some(0)),
            ((0, 10), None),
            ((0, 29), None),
            ((0, 30), Some(3)),
            ((9, 30), Some(3)),
            ((10, 30), None),
            ((29, 30), None),
            ((30, 99), Some(0)),
        ];
        for ((after, to), lost) in cases {
            assert_eq!(evicted.within(after, to), lost, "{after} to {to}");
        }
    }

    #[test]
    fn an_entry_does_not_answer_for_the_time_before_it_was_made() {
        let keys = Keys::new(0);
        let (key, _) = keys.push(&id("a"), 5);
        assert_eq!((key.lost(3, 9), key.lost(4, 9)), (None, Some(0)));
        key.evict(5);
        assert_eq!(
            (key.lost(3, 9), key.lost(4, 9), key.lost(5, 9)),
            (None, Some(1), Some(0))
        );
        let waiter = Arc::new(Waiter::default());
        let late = keys.join(&id("b"), &waiter);
        assert_eq!((late.lost(4, 9), late.lost(5, 9)), (None, Some(0)));
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn rings_that_nobody_answered_are_one_and_none_is_lost() {
        let wakes = Arc::new(Wakes::default());
        let task = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&task);
        let waiter = Waiter::default();
        waiter.wake();
        assert_eq!(
            waiter.poll_rung(&context),
            Poll::Ready(()),
            "a ring before the first look counts"
        );
        assert_eq!(waiter.poll_rung(&context), Poll::Pending);
        waiter.wake();
        waiter.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(waiter.poll_rung(&context), Poll::Ready(()));
        assert_eq!(waiter.poll_rung(&context), Poll::Pending);
        waiter.wake();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }
}
