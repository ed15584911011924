//! The counts in the SQLite file agree with a naive model after every event of random histories. The main case is a
//! carried stream: retention has passed some of its events, but the file keeps them because the stream was open.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::log::{Folder, Log};

const STREAMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TOKENS: u64 = 3;
const EVENTS: usize = 400;

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
    /// The sequence of the opening event of each open token, by stream and token.
    open: BTreeMap<(usize, u64), u64>,
    /// The number of events appended to each stream since the file last had none of it.
    appended: [u64; STREAMS.len()],
}

/// Returns the numbers in the first column.
fn numbers(file: &Connection, sql: &str) -> Vec<u64> {
    let mut statement = file.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Option<i64>>(0));
    let number = |number: rusqlite::Result<Option<i64>>| number.unwrap().unwrap_or(0);
    rows.unwrap()
        .map(|row| number(row).cast_unsigned())
        .collect()
}

fn count(file: &Connection, sql: &str) -> u64 {
    numbers(file, sql)[0]
}

impl Model {
    fn check(&mut self, log: &Log, file: &Connection, max: u64) {
        let oldest = log.oldest();
        let carried = count(file, "SELECT sum(events) FROM carried");
        let retained = format!("SELECT count(*) FROM event WHERE sequence >= {oldest}");
        let counted = count(file, "SELECT events FROM state");
        assert_eq!(counted, count(file, &retained) + carried);
        assert!(
            counted <= max && carried <= max / 4,
            "{counted}, {carried} of {max}"
        );
        // Every event before `oldest` is of a carried stream, or opened a token that is still open.
        let early = format!(
            "SELECT sequence FROM event WHERE sequence < {oldest}
             AND stream NOT IN (SELECT stream FROM carried) ORDER BY sequence"
        );
        let early = numbers(file, &early);
        let mut open: Vec<u64> = self.open.values().copied().collect();
        open.sort_unstable();
        assert!(
            early.iter().all(|sequence| open.contains(sequence)),
            "{early:?} {open:?}"
        );
        let all = numbers(file, "SELECT sequence FROM event ORDER BY sequence");
        assert!(
            open.iter()
                .all(|sequence| all.binary_search(sequence).is_ok()),
            "{open:?} {all:?}"
        );
        for (place, stream) in STREAMS.iter().enumerate() {
            let number = format!("(SELECT first FROM stream WHERE key = CAST('{stream}' AS BLOB))");
            let of =
                |what: &str| format!("SELECT count(*) FROM event WHERE stream = {number}{what}");
            let left = count(file, &of(""));
            if left == 0 {
                self.appended[place] = 0;
                continue;
            }
            let size = format!("SELECT sum(events) FROM carried WHERE stream = {number}");
            let (early, size) = (
                count(file, &of(&format!(" AND sequence < {oldest}"))),
                count(file, &size),
            );
            assert!(size == 0 || size == early, "{stream}: {size} of {early}");
            let evicted = format!("SELECT sum(events) FROM evicted WHERE stream = {number}");
            assert_eq!(
                count(file, &evicted),
                self.appended[place] - left,
                "{stream}"
            );
        }
    }
}

fn play(seed: u64, max: usize) {
    let mut random = Random(seed);
    let folder = Folder::new();
    let mut log = folder.keeping(max);
    let file = Connection::open(folder.file()).unwrap();
    let mut model = Model::default();
    for sequence in 1..=EVENTS as u64 {
        // In the first third no event closes a token, so many are open then. One stream gets more than half of the
        // events.
        let stream = usize::try_from(random.below(12)).unwrap().saturating_sub(6);
        let token = random.below(TOKENS);
        let key = STREAMS[stream];
        match random.below(8) {
            0 | 1 => {
                log.put(&[&format!("{key} +{token} start")]);
                model.open.insert((stream, token), sequence);
            }
            2 if sequence > EVENTS as u64 / 3 => {
                log.put(&[&format!("{key} -{token} end")]);
                model.open.remove(&(stream, token));
            }
            3 => {
                log.put(&["* . everywhere"]);
                model.check(&log, &file, max as u64);
                continue;
            }
            _ => log.put(&[&format!("{key} . on")]),
        }
        model.appended[stream] += 1;
        model.check(&log, &file, max as u64);
        if random.below(50) == 0 {
            drop(log);
            log = folder.keeping(max);
            model.check(&log, &file, max as u64);
        }
    }
}

#[test]
fn the_counts_of_the_file_agree_with_a_model_after_every_event() {
    for max in [3, 20, 60] {
        for seed in 5..=6 {
            play(0x9e37_79b9_7f4a_7c15 ^ seed, max);
        }
    }
}
