//! Compares the tail with a naive model: which events of open, ended and evicted streams remain after random histories.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::*;

const EPOCH: Epoch = Epoch::NONE;
/// All sequences of a history have the same number of digits, so the size of an event depends only on its stream.
const FIRST: u64 = 10_000;
/// The size of a frame of each stream, in bytes. The sizes are primes, so two streams have equal total sizes only with
/// about a hundred events each.
const SIZES: [usize; 6] = [101, 103, 107, 109, 113, 127];

/// A random number generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

#[derive(Debug, Default)]
struct Model {
    max: usize,
    /// The stream and pin of every appended event.
    events: BTreeMap<u64, (usize, Pinning)>,
    retained: VecDeque<u64>,
    carried: BTreeMap<usize, Vec<u64>>,
    pinned: BTreeSet<u64>,
    open: BTreeMap<(usize, u64), u64>,
    states: BTreeMap<(usize, u64), u64>,
    no_longer_carried: BTreeSet<usize>,
    /// The evicted events of each stream that still has an entry, pinned ones included.
    evicted: BTreeMap<usize, u64>,
}

impl Model {
    fn append(&mut self, sequence: u64, stream: usize, pin: Pinning) {
        self.events.insert(sequence, (stream, pin));
        self.retained.push_back(sequence);
        self.evicted.entry(stream).or_default();
        let before = match pin {
            Pinning::Open(token) => [
                self.open.insert((stream, token), sequence),
                self.states.remove(&(stream, token)),
            ],
            Pinning::Close(token) => [
                self.open.remove(&(stream, token)),
                self.states.remove(&(stream, token)),
            ],
            Pinning::State(token) if self.open.contains_key(&(stream, token)) => {
                [None, self.states.insert((stream, token), sequence)]
            }
            Pinning::None | Pinning::State(_) => [None; 2],
        };
        for before in before.into_iter().flatten() {
            self.pinned.remove(&before);
        }
        while self.retained.len() + self.carried_events() > self.max {
            let sequence = self.retained.pop_front().unwrap();
            let stream = self.events[&sequence].0;
            let is_wanted = self.is_open(stream) || self.carried.contains_key(&stream);
            if is_wanted && self.max >= 4 && !self.no_longer_carried.contains(&stream) {
                self.carried.entry(stream).or_default().push(sequence);
                if self.carried_events() > self.max / 4 {
                    self.stop_carrying_one();
                }
            } else {
                self.evict(sequence);
                self.forget_if_empty(stream);
            }
        }
    }

    fn carried_events(&self) -> usize {
        self.carried.values().map(Vec::len).sum()
    }

    fn is_open(&self, stream: usize) -> bool {
        self.open.keys().any(|(of, _)| *of == stream)
    }

    fn readable(&self, stream: usize) -> BTreeSet<u64> {
        let retained = self.retained.iter().chain(self.carried.values().flatten());
        let all = retained.chain(&self.pinned).copied();
        all.filter(|sequence| self.events[sequence].0 == stream)
            .collect()
    }

    fn stop_carrying_one(&mut self) {
        let streams: Vec<usize> = self.carried.keys().copied().collect();
        let ended = streams.iter().filter(|stream| !self.is_open(**stream));
        let oldest = ended.min_by_key(|stream| self.readable(**stream).last().copied());
        let largest = streams
            .iter()
            .max_by_key(|stream| self.carried[stream].len() * SIZES[**stream]);
        let stream = *oldest.or(largest).unwrap();
        self.no_longer_carried.insert(stream);
        for sequence in self.carried.remove(&stream).unwrap() {
            self.evict(sequence);
        }
        self.forget_if_empty(stream);
    }

    fn evict(&mut self, sequence: u64) {
        let (stream, pin) = self.events[&sequence];
        *self.evicted.get_mut(&stream).unwrap() += 1;
        let newest = match pin {
            Pinning::Open(token) => self.open.get(&(stream, token)),
            Pinning::State(token) => self.states.get(&(stream, token)),
            Pinning::None | Pinning::Close(_) => None,
        };
        if newest == Some(&sequence) {
            self.pinned.insert(sequence);
        }
    }

    /// A stream with no events left is forgotten, with its counts.
    fn forget_if_empty(&mut self, stream: usize) {
        if self.readable(stream).is_empty() && !self.is_open(stream) {
            self.evicted.remove(&stream);
            self.no_longer_carried.remove(&stream);
        }
    }
}

/// Reads everything after `after`, as a reader does. Returns the sequences and the number of lost events, if it is
/// known.
fn read_all(tail: &Tail, keys: &[StreamKey], after: u64) -> (Vec<u64>, Option<u64>) {
    let (mut after, mut found, mut lost) = (after, Vec::new(), Some(0));
    loop {
        let read = match keys {
            [] => tail.read_after(after),
            keys => tail.read_streams_after(keys, after),
        };
        let slices = match read {
            TailRead::Events(slices) => slices,
            TailRead::Evicted(_) => {
                let skipped = tail.skip_evicted(keys, after, u64::MAX);
                lost = lost.zip(skipped.lost).map(|(one, other)| one + other);
                after = skipped.to;
                skipped.kept
            }
            TailRead::Nothing(_) => return (found, lost),
        };
        for event in slices.iter().flat_map(Slice::events) {
            after = after.max(event.sequence());
            found.push(event.sequence());
        }
    }
}

fn key(stream: usize) -> StreamKey {
    StreamKey::new(stream.to_string()).unwrap()
}

fn check(tail: &Tail, model: &Model, after: u64) {
    let mut all = BTreeSet::new();
    for stream in 0..SIZES.len() {
        let readable = model.readable(stream);
        all.extend(readable.iter().copied());
        let wanted: Vec<u64> = readable.range(after + 1..).copied().collect();
        let (found, lost) = read_all(tail, &[key(stream)], after);
        assert_eq!(found, wanted, "stream {stream} after {after}");
        let later = model.events.range(after + 1..);
        let of_stream = later.filter(|(_, (of, _))| *of == stream).count();
        if let Some(lost) = lost {
            assert_eq!(
                lost,
                (of_stream - wanted.len()) as u64,
                "lost events of stream {stream}"
            );
        }
        let pinned = readable.iter().filter(|one| model.pinned.contains(one));
        let pinned = pinned.count() as u64;
        let evicted = model.evicted.get(&stream).map(|evicted| evicted - pinned);
        let reported = tail.evicted(&key(stream)).map(|evicted| evicted.events);
        assert_eq!(reported, evicted, "evicted events of stream {stream}");
    }
    let (found, lost) = read_all(tail, &[], after);
    assert_eq!(found, all.range(after + 1..).copied().collect::<Vec<_>>());
    let later = model.events.range(after + 1..).count();
    assert_eq!(lost, Some((later - found.len()) as u64));
    let events = model.retained.len() + model.carried_events();
    assert_eq!(tail.stats().events, events);
    assert!(events <= model.max);
}

#[test]
fn retention_keeps_what_the_naive_model_keeps() {
    let mut stopped_streams = 0;
    for seed in 1..=100 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
        let max = [1, 8, 20, 60, 200][random.index(5)];
        let tail = Tail::carrying(FIRST, Retention::default().events(max));
        let now = Instant::now();
        let mut model = Model {
            max,
            ..Model::default()
        };
        // Some histories open more spans than they close, so some streams stay open for long.
        let closes = 1 + random.below(3);
        let mut sequence = FIRST;
        for _ in 0..60 + random.below(120) {
            let mut batch = Batch::default();
            // The tail evicts after each batch, the model after each event. For batches of one event, both are the
            // same.
            let stream = random.index(SIZES.len());
            let token = random.below(3);
            let pin = match random.below(12) {
                0..2 => Pinning::Open(token),
                choice if choice < 2 + closes => Pinning::Close(token),
                choice if choice < 4 + closes => Pinning::State(token),
                _ => Pinning::None,
            };
            let empty = frame::event_size("note", sequence, b"");
            let payload = vec![b'x'; SIZES[stream] - empty];
            batch.push("note", Some(key(stream)), pin, |out| {
                out.extend_from_slice(&payload);
            });
            tail.append(EPOCH, sequence, &batch, now);
            tail.publish();
            model.append(sequence, stream, pin);
            sequence += 1;
            let after = FIRST - 1 + random.below(sequence - FIRST + 1);
            check(&tail, &model, after);
        }
        check(&tail, &model, FIRST - 1);
        stopped_streams += model.no_longer_carried.len();
    }
    assert!(
        stopped_streams > 100,
        "only {stopped_streams} streams are no longer carried"
    );
}

#[test]
fn blocks_are_freed_though_some_of_their_events_are_carried() {
    let tail = Tail::carrying(1, Retention::default().events(4000));
    let now = Instant::now();
    for number in 0..40_u64 {
        let mut batch = Batch::default();
        for event in 0..1000 {
            let is_long = event == 0;
            let pin = if is_long && number == 0 {
                Pinning::Open(1)
            } else {
                Pinning::None
            };
            batch.push("note", Some(key(usize::from(is_long))), pin, |out| {
                out.extend_from_slice(&[b'x'; 50]);
            });
        }
        tail.append(EPOCH, 1 + number * 1000, &batch, now);
        tail.publish();
    }
    let state = read(&tail.state);
    let carried: Vec<Slice> = state.carried.range(0, u64::MAX).collect();
    let sizes: BTreeSet<usize> = carried.iter().map(|slice| slice.block.len()).collect();
    // Only events of the front block may still be in their original block.
    assert!(carried.len() >= 36 && state.carried.len() == carried.len());
    assert!(sizes.first() == Some(&1) && sizes.len() <= 2, "{sizes:?}");
}

#[test]
fn an_ended_stream_is_removed_when_its_last_event_is_too_old() {
    let minute = Duration::from_secs(60);
    let tail = Tail::carrying(1, Retention::default().age(minute));
    let begun = Instant::now();
    let put = |pin, after| {
        let mut batch = Batch::default();
        batch.push("note", Some(key(1)), pin, |out| out.push(b'x'));
        tail.append(EPOCH, tail.next(), &batch, begun + after);
        tail.publish();
    };
    put(Pinning::Open(1), Duration::ZERO);
    put(Pinning::None, minute / 2);
    // While the stream is open, age removes none of its events.
    assert_eq!(tail.expire(begun + minute * 10), None);
    assert_eq!(read_all(&tail, &[key(1)], 0).0, [1, 2]);
    put(Pinning::Close(1), minute * 10);
    // The stream stays whole until its last event is too old.
    assert_eq!(tail.expire(begun + minute * 11), Some(begun + minute * 11));
    assert_eq!(read_all(&tail, &[key(1)], 0).0, [1, 2, 3]);
    let past = Duration::from_nanos(1);
    assert_eq!(tail.expire(begun + minute * 11 + past), None);
    assert_eq!(read_all(&tail, &[key(1)], 0).0, [0_u64; 0]);
    let TailStats { events, bytes, .. } = tail.stats();
    assert_eq!((events, bytes), (0, 0));
}
