//! The log in Redis agrees with a naive model after every batch of random histories of two writers. The main case is a
//! carried stream: retention has passed some of its events, but the stream's own Redis key keeps them because the
//! stream was open.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use livespan::{EventStore as _, Retention, sse::Pinning, store::StoredEvent};

use super::{
    handle::{Draft, Handle, key, shown},
    server::Server,
};
use crate::support::block_on;

const STREAMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TOKENS: u64 = 3;
const BATCHES: usize = 150;

/// A random number generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug, Default)]
struct Model {
    /// The stream of each event and its payload, by sequence.
    events: BTreeMap<u64, (Option<usize>, String)>,
    /// The sequence of the opening event of each open token, by stream and token.
    open: BTreeMap<(usize, u64), u64>,
    /// The first sequence of each stream since the log last had no event of it.
    begun: BTreeMap<usize, u64>,
    /// The open streams that had all their events at the last check. Emptied when all open streams together exceed the
    /// share of carried events.
    whole: BTreeSet<usize>,
}

fn of_stream(events: &[StoredEvent], stream: usize) -> Vec<u64> {
    let own = events
        .iter()
        .filter(|event| event.key == Some(key(STREAMS[stream])));
    own.map(|event| event.sequence.get()).collect()
}

impl Model {
    fn add(&mut self, sequence: u64, stream: Option<usize>, pin: Pinning, payload: &str) {
        self.events.insert(sequence, (stream, payload.to_owned()));
        let Some(stream) = stream else { return };
        self.begun.entry(stream).or_insert(sequence);
        match pin {
            Pinning::Open(token) => {
                self.open.insert((stream, token), sequence);
            }
            Pinning::Close(token) => {
                self.open.remove(&(stream, token));
            }
            _ => {}
        }
    }

    fn is_open(&self, stream: usize) -> bool {
        self.open.keys().any(|(one, _)| *one == stream)
    }

    /// Returns all sequences of a stream since the log last had no event of it.
    fn sequences(&self, stream: usize) -> Vec<u64> {
        let Some(begun) = self.begun.get(&stream) else {
            return Vec::new();
        };
        let own = self
            .events
            .range(begun..)
            .filter(|(_, (one, _))| *one == Some(stream));
        own.map(|(sequence, _)| *sequence).collect()
    }

    fn check(&mut self, handle: &Handle, max: usize) {
        let all = handle.read(0);
        let oldest = handle.oldest();
        let expected: Vec<(u64, String)> = all
            .iter()
            .map(|event| event.sequence.get())
            .map(|sequence| (sequence, self.events[&sequence].1.clone()))
            .collect();
        assert_eq!(shown(&all), expected);
        assert!(
            expected.is_sorted_by(|one, other| one.0 < other.0),
            "{expected:?}"
        );
        let early = all.iter().filter(|event| event.sequence.get() < oldest);
        let globals = |event: &StoredEvent| event.key.is_none();
        assert_eq!(early.filter(|event| globals(event)).count(), 0);
        let opening: BTreeSet<u64> = self.open.values().copied().collect();
        let counted = all
            .iter()
            .filter(|event| !opening.contains(&event.sequence.get()));
        assert!(counted.count() <= max, "{} events of {max}", all.len());
        for sequence in self.events.range(oldest..).map(|(sequence, _)| sequence) {
            assert!(
                expected.binary_search_by_key(sequence, |one| one.0).is_ok(),
                "{sequence}"
            );
        }
        for sequence in &opening {
            assert!(
                expected.binary_search_by_key(sequence, |one| one.0).is_ok(),
                "{sequence}"
            );
        }
        let evicted = block_on(handle.0.evicted(&STREAMS.map(key))).unwrap();
        for (stream, name) in STREAMS.iter().enumerate() {
            let readable = of_stream(&all, stream);
            if readable.is_empty() {
                self.begun.remove(&stream);
                assert_eq!(
                    evicted[stream].map(|evicted| evicted.events),
                    Some(0),
                    "{name}"
                );
                continue;
            }
            assert_eq!(
                of_stream(&handle.read_stream(name, 0), stream),
                readable,
                "{name}"
            );
            let appended = self.sequences(stream);
            let lost = (appended.len() - readable.len()) as u64;
            assert_eq!(
                evicted[stream].map(|evicted| evicted.events),
                Some(lost),
                "{name}"
            );
            // A stream that keeps other events than its opening ones beyond retention has all of its events.
            let beyond = readable
                .iter()
                .filter(|sequence| **sequence < oldest && !opening.contains(*sequence));
            assert!(
                beyond.count() == 0 || lost == 0,
                "{name}: {readable:?} of {appended:?}"
            );
        }
        self.check_whole(&all, max);
    }

    /// Checks that each stream in `whole` that is still open has all its events, unless all open streams together
    /// exceed the share of carried events. Then adds the open streams that have all their events to `whole`.
    fn check_whole(&mut self, all: &[StoredEvent], max: usize) {
        let open: Vec<usize> = (0..STREAMS.len())
            .filter(|stream| self.is_open(*stream))
            .collect();
        let size: usize = open
            .iter()
            .map(|stream| self.sequences(*stream).len())
            .sum();
        if size > max / Retention::CARRIED_DIVISOR {
            self.whole.clear();
            return;
        }
        self.whole.retain(|stream| open.contains(stream));
        for stream in &self.whole {
            assert_eq!(
                of_stream(all, *stream),
                self.sequences(*stream),
                "{}",
                STREAMS[*stream]
            );
        }
        for stream in open {
            if of_stream(all, stream) == self.sequences(stream) {
                self.whole.insert(stream);
            }
        }
    }
}

/// Checks that the registers in Redis agree with each other.
fn check_registers(server: &Server, model: &Model) {
    let name = |key: &str| format!("{{livespan}}:{key}");
    let list = |words: &[&str]| -> Vec<String> { server.command(words) };
    let numbers = |key: &str| -> HashMap<String, u64> { server.command(&["HGETALL", &name(key)]) };
    let mut open: HashMap<String, u64> = HashMap::new();
    for (stream, _) in model.open.keys() {
        *open.entry(STREAMS[*stream].to_owned()).or_default() += 1;
    }
    assert_eq!(numbers("open:pins"), open);
    let meta: HashMap<String, String> = server.command(&["HGETALL", &name("meta")]);
    let figure = |field: &str| {
        meta.get(field)
            .map_or(0, |text| text.parse::<u64>().unwrap())
    };
    let members = list(&["ZRANGE", &name("carried"), "0", "-1"]);
    let counts = numbers("carried:events");
    assert_eq!(members.len() as u64, figure("carried"));
    assert_eq!(counts.values().sum::<u64>(), figure("carried"));
    let bytes: HashMap<String, u64> =
        server.command(&["ZRANGE", &name("carried:bytes"), "0", "-1", "WITHSCORES"]);
    assert_eq!(bytes.values().sum::<u64>(), figure("carried:bytes"));
    assert_eq!(meta.get("leaving").map_or("", String::as_str), "");
    let mut carried: HashMap<String, Vec<u64>> = HashMap::new();
    for member in &members {
        let (sequence, stream) = member.split_once(':').unwrap();
        let sequences = carried.entry(stream.to_owned()).or_default();
        sequences.push(sequence.parse().unwrap());
    }
    let firsts: HashMap<String, u64> =
        server.command(&["ZRANGE", &name("carried:first"), "0", "-1", "WITHSCORES"]);
    let expected: HashMap<String, u64> = carried
        .iter()
        .map(|(stream, sequences)| (stream.clone(), sequences[0]))
        .collect();
    assert_eq!(firsts, expected);
    let mut ended = list(&["ZRANGE", &name("carried:ended"), "0", "-1"]);
    ended.sort_unstable();
    let mut closed: Vec<String> = carried
        .keys()
        .filter(|stream| !open.contains_key(*stream))
        .cloned()
        .collect();
    closed.sort_unstable();
    assert_eq!(ended, closed);
    let registered: HashMap<String, u64> =
        server.command(&["ZRANGE", &name("streams"), "0", "-1", "WITHSCORES"]);
    for stream in STREAMS {
        let key = name(&format!("s:{stream}"));
        let held: u64 = server.command(&["XLEN", &key]);
        let beyond = carried.get(stream).map_or(0, Vec::len) as u64;
        assert_eq!(
            counts.get(stream).copied().unwrap_or_default(),
            beyond,
            "{stream}"
        );
        let is_known = beyond > 0 || registered.contains_key(stream);
        assert_eq!(held > 0, is_known, "{stream}");
    }
}

fn play(server: &Server, seed: u64, max: usize) {
    server.command::<()>(&["FLUSHALL"]);
    let mut random = Random(seed);
    let retention = Retention::default().events(max);
    let open = || Handle::open_with(&server.url(), |builder| builder.retention(retention));
    let mut handles = [open(), open()];
    let mut model = Model::default();
    for batch in 0..BATCHES {
        let writer = usize::try_from(random.below(2)).unwrap();
        let mut drafts: Vec<(Option<usize>, Pinning, String)> = Vec::new();
        for number in 0..=random.below(5) {
            // In the first third no event closes a token, so many are open then. One stream gets more than half of the
            // events.
            let stream = usize::try_from(random.below(12)).unwrap().saturating_sub(6);
            let token = random.below(TOKENS);
            let (stream, pin) = match random.below(9) {
                0 => (Some(stream), Pinning::Open(token)),
                1 | 2 if batch > BATCHES / 3 => (Some(stream), Pinning::Close(token)),
                3 => (None, Pinning::None),
                _ => (Some(stream), Pinning::None),
            };
            drafts.push((stream, pin, format!("{batch} {number}")));
        }
        let sent: Vec<Draft<'_>> = drafts
            .iter()
            .map(|(stream, pin, text)| {
                (
                    stream.map_or("", |stream| STREAMS[stream]),
                    *pin,
                    text.as_bytes(),
                )
            })
            .collect();
        let first = handles[writer].append(&sent);
        for ((stream, pin, text), sequence) in drafts.iter().zip(first..) {
            model.add(sequence, *stream, *pin, text);
        }
        model.check(&handles[1 - writer], max);
        check_registers(server, &model);
        if random.below(40) == 0 {
            handles[writer] = open();
        }
    }
}

#[test]
fn the_log_agrees_with_a_model_after_every_batch_of_two_writers() {
    let server = Server::start();
    for max in [3, 20, 60, 200] {
        for seed in 5..=6 {
            play(&server, 0x9e37_79b9_7f4a_7c15 ^ seed, max);
        }
    }
}
