//! The promise on which all others rest: replay and live delivery together have no duplicate and no
//! unannounced hole. It holds wherever a client is cut, and whatever retention removes meanwhile.

use std::{collections::BTreeSet, ops::RangeInclusive, thread};

use livespan::{
    Retention, SseTarget,
    sse::{StreamKey, Subscribe},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::{
    connection::{Connection, Piece, parse, sequence},
    stores::Remembering,
    test_event::{Note, builder, flush, key},
};

const STREAMS: [&str; 3] = ["a", "b", "c"];

/// One random history.
#[derive(Clone, Debug)]
struct Case {
    writers: usize,
    events: usize,
    retention: usize,
    /// The number of bytes after which each connection breaks, used in a cycle.
    cuts: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let cuts = proptest::collection::vec(0_usize..3000, 1..12);
    (3_usize..5, 20_usize..120, 1_usize..80, cuts).prop_map(|(writers, events, retention, cuts)| {
        Case {
            writers,
            events,
            retention,
            cuts,
        }
    })
}

fn config() -> Config {
    Config {
        cases: 64,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_122),
        ..Config::default()
    }
}

/// The events that one client received over all of its connections.
#[derive(Debug, Default)]
struct Received {
    sequences: Vec<u64>,
    gaps: Vec<(RangeInclusive<u64>, Option<u64>)>,
    last_id: Option<String>,
    caught_up: bool,
}

impl Received {
    /// Reads one connection, which breaks after this many bytes.
    fn connect(&mut self, target: &SseTarget<Note>, options: Subscribe, bytes_max: usize) {
        // `0` is before the first event. A reader that resumes at it gets gaps for removed events; a reader without an
        // id gets none.
        let mut connection =
            Connection::resume(target, options, self.last_id.as_deref().unwrap_or("0"));
        let mut bytes = Vec::new();
        self.caught_up = false;
        while bytes.len() < bytes_max && !self.caught_up {
            match connection.piece() {
                Piece::Bytes(piece) => bytes.extend(piece),
                Piece::Quiet | Piece::End => self.caught_up = true,
            }
        }
        self.caught_up &= bytes.len() <= bytes_max;
        bytes.truncate(bytes_max);
        for frame in parse(&bytes) {
            if let Some(id) = frame.get("id") {
                self.last_id = Some(id.to_owned());
                self.sequences.push(sequence(id));
            } else if frame.get("event") == Some("gap") {
                let gap = frame.json();
                assert_eq!(gap["reason"], "evicted");
                let end = |name: &str| sequence(gap[name].as_str().unwrap());
                self.gaps
                    .push((end("from")..=end("to"), gap["lost"].as_u64()));
            }
        }
    }

    /// Compares the received events with all events of the stream. `global` are the events that
    /// belong to every stream. They are needed because the gap at the beginning of a stream counts
    /// only the stream's own events.
    fn check(&self, truth: &BTreeSet<u64>, global: &BTreeSet<u64>) {
        assert!(
            self.sequences.is_sorted_by(|one, two| one < two),
            "the sequences do not ascend: {:?}",
            self.sequences
        );
        let received: BTreeSet<u64> = self.sequences.iter().copied().collect();
        assert!(received.is_subset(truth), "an event of another stream came");
        let first = received.first().copied().unwrap_or(u64::MAX);
        let missing = truth.difference(&received);
        for missing in missing.filter(|one| **one > first || !global.contains(one)) {
            assert!(
                self.gaps.iter().any(|(range, _)| range.contains(missing)),
                "{missing} is missing, and no gap announces it"
            );
        }
        for (range, lost) in &self.gaps {
            assert!(
                received.range(range.clone()).next().is_none(),
                "an event of the gap {range:?} came"
            );
            if let Some(lost) = lost {
                let all = truth.range(range.clone()).count() as u64;
                let own = all - global.range(range.clone()).count() as u64;
                assert!(
                    *lost == all || *range.start() == 1 && *lost == own,
                    "the gap {range:?} counts {lost} of {all} events, of which {own} are of the stream"
                );
            }
        }
    }
}

/// Runs the case: threads write, while one client after another reads and is cut.
fn run(case: &Case, options: &Subscribe) -> (Received, Vec<Option<StreamKey>>) {
    let (store, keys) = Remembering::new(Retention::default().events(case.retention));
    let target = builder().store(store).build().unwrap();
    let mut received = Received::default();
    thread::scope(|scope| {
        for writer in 0..case.writers {
            let target = target.clone();
            scope.spawn(move || {
                for number in 0..case.events {
                    let note = Note::new(format!("{writer} {number}"));
                    let stream = STREAMS.get((writer + number) % 4);
                    target
                        .try_dispatch(&stream.map_or(note.clone(), |stream| note.on(stream)))
                        .unwrap();
                    thread::yield_now();
                }
            });
        }
        for cut in &case.cuts {
            received.connect(&target, options.clone(), *cut);
        }
    });
    flush(&target);
    // A cut before the first complete frame makes no progress, so the number of cuts is bounded.
    for cut in case.cuts.iter().cycle().take(200) {
        received.connect(&target, options.clone(), *cut);
        if received.caught_up {
            break;
        }
    }
    received.connect(&target, options.clone(), usize::MAX);
    assert!(received.caught_up);
    let keys = keys.lock().unwrap().clone();
    assert_eq!(
        keys.len(),
        case.writers * case.events,
        "an event was dropped"
    );
    (received, keys)
}

/// The events that belong to every stream.
fn global(keys: &[Option<StreamKey>]) -> BTreeSet<u64> {
    let global = keys.iter().zip(1..).filter(|(of, _)| of.is_none());
    global.map(|(_, sequence)| sequence).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_client_cut_at_any_byte_gets_every_event_once_or_an_exact_gap(case in cases()) {
        let (received, keys) = run(&case, &Subscribe::all());
        received.check(&(1..=keys.len() as u64).collect(), &BTreeSet::new());
        assert!(received.gaps.iter().all(|(_, lost)| lost.is_some()), "a gap has no count");
    }

    #[test]
    fn a_client_of_one_stream_gets_its_events_once_or_a_gap(case in cases()) {
        let (received, keys) = run(&case, &Subscribe::to(key("a")));
        let wanted = |of: &Option<StreamKey>| of.is_none_or(|of| of == key("a"));
        let truth = keys.iter().zip(1..).filter(|(of, _)| wanted(of)).map(|(_, sequence)| sequence);
        received.check(&truth.collect(), &global(&keys));
    }

    #[test]
    fn a_client_of_two_streams_gets_their_events_once_or_a_gap(case in cases()) {
        let (received, keys) = run(&case, &Subscribe::to(key("a")).stream(key("c")));
        let wanted = |of: &Option<StreamKey>| of.is_none_or(|of| of != key("b"));
        let truth = keys.iter().zip(1..).filter(|(of, _)| wanted(of)).map(|(_, sequence)| sequence);
        received.check(&truth.collect(), &global(&keys));
    }
}
