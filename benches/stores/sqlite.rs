//! Measures `SqliteEventStore`. Appends and reads are compared with bare `rusqlite` loops.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use livespan::{
    EventStore as _, SqliteEventStore,
    sse::{Pinning, Sequence, StreamKey},
    store::{Batch, OpenEventRecovery as _, PageLimit, Synchronous},
};
use rusqlite::{Connection, params};

use crate::{
    file_size,
    measure::{compare, is_wanted, median},
    replay, wait,
};

const ROUNDS: usize = 5;
const EVENTS: u64 = 256_000;
const BATCH: u64 = 256;
const PAYLOAD: usize = 300;
/// Number of concurrent traces, and number of events of each, as on a busy server.
const ACTIVE: u64 = 512;
const PER_TRACE: u64 = 50;
/// About a million events, in whole batches.
const READ_EVENTS: u64 = 3_907 * BATCH;
const OPEN_EVENTS: u64 = 10_000_000;

/// The distribution of a load's events over traces.
#[derive(Clone, Copy)]
enum Shape {
    /// 512 concurrent traces of 50 events each.
    Interleaved,
    /// Traces of two events, one after the other.
    Short,
}

impl Shape {
    fn trace(self, sequence: u64) -> u64 {
        match self {
            Self::Interleaved => {
                let generation = sequence / (ACTIVE * PER_TRACE);
                generation * ACTIVE + sequence % ACTIVE
            }
            Self::Short => sequence / 2,
        }
    }
}

pub(crate) fn run(folder: &Path) {
    if is_wanted("append") {
        append(folder, "append", Shape::Interleaved, Synchronous::Full);
    }
    if is_wanted("normal") {
        let normal = Synchronous::Normal;
        append(folder, "append, NORMAL", Shape::Interleaved, normal);
    }
    if is_wanted("short") {
        let what = "append, 2 events a trace";
        append(folder, what, Shape::Short, Synchronous::Full);
    }
    if is_wanted("one") {
        append_one(folder);
    }
    if is_wanted("bound") {
        trimmed(folder);
    }
    if is_wanted("read") {
        read(folder);
    }
    if is_wanted("replay") {
        replay(folder);
    }
    if is_wanted("open") {
        open(folder);
    }
}

/// Returns the rate in events per second.
fn rate(events: u64, time: Duration) -> f64 {
    let events = u32::try_from(events).expect("a bench makes fewer than four billion events");
    f64::from(events) / time.as_secs_f64()
}

/// Returns sixteen bytes that look random and are the same in every run.
fn trace_id(trace: u64) -> [u8; 16] {
    let mix = |seed: u64| {
        let mut bits = trace.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(1).to_le_bytes());
    id[8..].copy_from_slice(&mix(2).to_le_bytes());
    id
}

/// Returns the pin of an event. A trace's events alternately open and close a span.
fn pin(sequence: u64, shape: Shape) -> Pinning {
    let trace = shape.trace(sequence);
    let place = match shape {
        Shape::Interleaved => sequence / ACTIVE % PER_TRACE,
        Shape::Short => sequence % 2,
    };
    let token = trace.wrapping_mul(31).wrapping_add(place / 2);
    if place.is_multiple_of(2) {
        Pinning::Open(token)
    } else {
        Pinning::Close(token)
    }
}

fn name(pin: Pinning) -> &'static str {
    match pin {
        Pinning::Open(_) => "started",
        _ => "ended",
    }
}

fn batch(first: u64, len: u64, shape: Shape) -> Batch {
    let payload = [b'x'; PAYLOAD];
    let mut batch = Batch::default();
    for sequence in first..first + len {
        let key = StreamKey::new(trace_id(shape.trace(sequence))).expect("an id is a key");
        let pin = pin(sequence, shape);
        batch.add(name(pin), Some(key), pin, &payload);
    }
    batch
}

fn fresh(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    for end in ["", "-wal", "-shm", "-lock"] {
        let mut file = path.clone().into_os_string();
        file.push(end);
        // The file may not exist.
        fs::remove_file(file).ok();
    }
    path
}

fn connect(path: &Path, synchronous: Synchronous) -> Connection {
    let word = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
        _ => "OFF",
    };
    let connection = Connection::open(path).expect("the file opens");
    connection
        .execute_batch(&format!(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous={word};
             PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"
        ))
        .expect("the settings are known");
    connection
}

/// Appends with the loop that a user would write for the same tables. A map holds the number of each stream.
fn append_bare(path: &Path, shape: Shape, synchronous: Synchronous, total: u64, size: u64) -> f64 {
    let mut connection = connect(path, synchronous);
    connection
        .execute_batch(
            "CREATE TABLE event(sequence INTEGER PRIMARY KEY, stream INTEGER NOT NULL, name TEXT NOT NULL,
                 pin INTEGER, token INTEGER, payload BLOB NOT NULL);
             CREATE INDEX event_by_stream ON event(stream);
             CREATE TABLE stream(first INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);",
        )
        .expect("the tables are made");
    let mut numbers = std::collections::HashMap::new();
    let mut used = Duration::ZERO;
    let mut first = 1;
    while first <= total {
        let batch = batch(first, size, shape);
        let begun = Instant::now();
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .expect("no other connection writes");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO event VALUES(?1, ?2, ?3, ?4, ?5, ?6)")
                .expect("the statement is right");
            let mut insert_stream = transaction
                .prepare_cached("INSERT INTO stream VALUES(?1, ?2)")
                .expect("the statement is right");
            for (record, sequence) in batch.iter().zip(first.cast_signed()..) {
                let key = *record.stream_key().expect("every event has a stream");
                let number = *numbers.entry(key).or_insert_with(|| {
                    insert_stream
                        .execute(params![sequence, key.as_bytes()])
                        .expect("the stream is new");
                    sequence
                });
                let (pin, token) = match record.pin() {
                    Pinning::Open(token) => (1, token.cast_signed()),
                    Pinning::Close(token) => (2, token.cast_signed()),
                    _ => (0, 0),
                };
                insert
                    .execute(params![
                        sequence,
                        number,
                        record.name(),
                        pin,
                        token,
                        record.payload()
                    ])
                    .expect("the event is new");
            }
        }
        transaction.commit().expect("the disk has room");
        used += begun.elapsed();
        first += size;
    }
    rate(total, used)
}

fn append_store(store: &SqliteEventStore, shape: Shape, total: u64, size: u64) -> f64 {
    let mut first = store.open().expect("the file opens").get() + 1;
    let end = first + total;
    let mut used = Duration::ZERO;
    while first < end {
        let batch = batch(first, size, shape);
        let begun = Instant::now();
        store
            .append(Sequence::new(first), &batch)
            .expect("the disk has room");
        used += begun.elapsed();
        first += size;
    }
    rate(total, used)
}

fn append(folder: &Path, what: &str, shape: Shape, synchronous: Synchronous) {
    let (mut bare, mut store) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let path = fresh(folder, "bare.db");
        bare.push(append_bare(&path, shape, synchronous, EVENTS, BATCH));
        let path = fresh(folder, "store.db");
        let opened = SqliteEventStore::new(&path).synchronous(synchronous);
        store.push(append_store(&opened, shape, EVENTS, BATCH));
    }
    compare(what, "events/s", bare, store);
}

/// Appends each event in a batch of its own, as the log does without other load.
fn append_one(folder: &Path) {
    const COUNT: u64 = 5_000;
    let (mut bare, mut store) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let path = fresh(folder, "bare.db");
        bare.push(append_bare(
            &path,
            Shape::Interleaved,
            Synchronous::Full,
            COUNT,
            1,
        ));
        let path = fresh(folder, "store.db");
        let opened = SqliteEventStore::new(&path);
        store.push(append_store(&opened, Shape::Interleaved, COUNT, 1));
    }
    compare("append, batches of one", "events/s", bare, store);
}

/// Appends to a store at its bound, which evicts as many events as it receives.
fn trimmed(folder: &Path) {
    let mut rates = Vec::new();
    let mut size = 0;
    for _ in 0..ROUNDS {
        let path = fresh(folder, "store.db");
        let retention = SqliteEventStore::default_retention().events(100_000);
        let store = SqliteEventStore::new(&path).retention(retention);
        rates.push(append_store(&store, Shape::Interleaved, EVENTS, BATCH));
        drop(store);
        size = file_size(&path);
    }
    println!(
        "append at a bound of 100000 events: {:.0} events/s, {} MiB at the end",
        median(rates),
        size >> 20
    );
}

fn read_bare(path: &Path) -> f64 {
    let connection = Connection::open(path).expect("the file opens");
    let begun = Instant::now();
    let mut statement = connection
        .prepare("SELECT sequence, name, pin, token, payload, key FROM event JOIN stream ON first = stream ORDER BY sequence")
        .expect("the statement is right");
    let mut rows = statement.query([]).expect("the file is sound");
    let mut count = 0_u64;
    while let Some(row) = rows.next().expect("the file is sound") {
        let sequence: i64 = row.get_unwrap(0);
        let name: String = row.get_unwrap(1);
        let pin: Option<i64> = row.get_unwrap(2);
        let token: Option<i64> = row.get_unwrap(3);
        let payload: Vec<u8> = row.get_unwrap(4);
        let key: Vec<u8> = row.get_unwrap(5);
        black_box((sequence, name, pin, token, payload, key));
        count += 1;
    }
    assert_eq!(count, READ_EVENTS);
    rate(count, begun.elapsed())
}

/// Reads like [`read_bare`], but without the streams' keys. A reader of all events may not need the keys.
fn read_bare_unnamed(path: &Path) -> f64 {
    let connection = Connection::open(path).expect("the file opens");
    let begun = Instant::now();
    let mut statement = connection
        .prepare("SELECT sequence, stream, name, pin, token, payload FROM event ORDER BY sequence")
        .expect("the statement is right");
    let mut rows = statement.query([]).expect("the file is sound");
    let mut count = 0_u64;
    while let Some(row) = rows.next().expect("the file is sound") {
        let sequence: i64 = row.get_unwrap(0);
        let stream: i64 = row.get_unwrap(1);
        let name: String = row.get_unwrap(2);
        let pin: Option<i64> = row.get_unwrap(3);
        let token: Option<i64> = row.get_unwrap(4);
        let payload: Vec<u8> = row.get_unwrap(5);
        black_box((sequence, stream, name, pin, token, payload));
        count += 1;
    }
    assert_eq!(count, READ_EVENTS);
    rate(count, begun.elapsed())
}

fn read_store(store: &SqliteEventStore) -> f64 {
    let begun = Instant::now();
    let mut after = Sequence::START;
    let mut count = 0_u64;
    loop {
        let page = wait(store.read_after(after, PageLimit::default())).expect("the file is sound");
        let Some(last) = page.last() else {
            break;
        };
        after = last.sequence;
        count += page.len() as u64;
        black_box(page);
    }
    assert_eq!(count, READ_EVENTS);
    rate(count, begun.elapsed())
}

fn read(folder: &Path) {
    let path = fresh(folder, "store.db");
    let store = SqliteEventStore::new(&path);
    append_store(&store, Shape::Interleaved, READ_EVENTS, BATCH);
    println!(
        "file of {READ_EVENTS} events: {} MiB for {} MiB of payloads",
        file_size(&path) >> 20,
        (READ_EVENTS * PAYLOAD as u64) >> 20
    );
    let (mut bare, mut unnamed, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(read_bare(&path));
        unnamed.push(read_bare_unnamed(&path));
        stored.push(read_store(&store));
    }
    compare("read back", "events/s", bare, stored.clone());
    compare(
        "read back, against a loop without the streams' names",
        "events/s",
        unnamed,
        stored,
    );
    read_traces(&store);
}

/// Compares a reader of the whole file over HTTP with [`read_bare`].
fn replay(folder: &Path) {
    let path = fresh(folder, "store.db");
    let store = SqliteEventStore::new(&path);
    append_store(&store, Shape::Interleaved, READ_EVENTS, BATCH);
    drop(store);
    let address = replay::serve(SqliteEventStore::new(&path));
    let (mut bare, mut served) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(read_bare(&path));
        served.push(rate(READ_EVENTS, replay::read(address, READ_EVENTS)));
    }
    compare("replay through HTTP", "events/s", bare, served);
}

/// Reads traces of 50 events one after the other, from all over the file.
fn read_traces(store: &SqliteEventStore) {
    let traces = READ_EVENTS / PER_TRACE;
    let mut times = Vec::new();
    for turn in 0..2_000 {
        let trace = turn * 7_919 % traces;
        let key = StreamKey::new(trace_id(trace)).expect("an id is a key");
        let begun = Instant::now();
        let page = wait(store.read_streams_after(&[key], Sequence::START, PageLimit::default()))
            .expect("the file is sound");
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        black_box(page);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "one trace of 50 events: median {:.0} µs, p99 {:.0} µs",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

fn open(folder: &Path) {
    let path = fresh(folder, "store.db");
    let store = SqliteEventStore::new(&path).synchronous(Synchronous::Off);
    append_store(&store, Shape::Interleaved, OPEN_EVENTS, BATCH);
    drop(store);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let store = SqliteEventStore::new(&path);
        let begun = Instant::now();
        let head = store.open().expect("the file opens");
        store.recover_open_events().expect("the file is sound");
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(head.get(), OPEN_EVENTS.div_ceil(BATCH) * BATCH);
    }
    println!(
        "open a log of {OPEN_EVENTS} events, {} MiB: {:.1} ms",
        file_size(&path) >> 20,
        median(times)
    );
}
