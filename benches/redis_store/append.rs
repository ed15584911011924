//! Appends batches of 256 events of 300 bytes. Compares the store with two loops. One makes the
//! same script call with the same arguments on a bare client. The other sends two `XADD` commands
//! per event in a pipeline.

use std::time::{Duration, Instant};

use livespan::{
    EventStore as _, RedisEventStore,
    sse::{Pinning, Sequence, StreamKey},
    store::Batch,
};
use redis::{Cmd, Connection, Script};

use crate::{measure::median, server::Server};

const ROUNDS: usize = 15;
const BATCHES: usize = 60;
const EVENTS: usize = 256;
const PAYLOAD: usize = 300;
/// The number of events in one round: `BATCHES` times `EVENTS`.
const ROUND_EVENTS: u32 = 60 * 256;
/// Number of traces that are written concurrently.
const STREAMS: usize = 32;

/// Returns the stream and the pin of an event. Even numbers are span starts, odd ones span ends.
fn event(number: usize, batch: usize) -> (String, Pinning) {
    let span = (number / 2 + batch * EVENTS / 2) as u64;
    let pin = if number.is_multiple_of(2) {
        Pinning::Open(span)
    } else {
        Pinning::Close(span)
    };
    let trace = number / 2 % STREAMS + batch / 20 * STREAMS;
    // 32 characters, like a trace id.
    (format!("{trace:032x}"), pin)
}

fn payload() -> Vec<u8> {
    (b'a'..=b'z').cycle().take(PAYLOAD).collect()
}

/// Appends batches through the store.
fn through_store(store: &RedisEventStore, from: usize) -> Duration {
    let payload = payload();
    let batches: Vec<Batch> = (from..from + BATCHES)
        .map(|number| {
            let mut batch = Batch::default();
            for at in 0..EVENTS {
                let (stream, pin) = event(at, number);
                let key = StreamKey::new(stream).expect("32 bytes");
                let name = if at % 2 == 0 { "started" } else { "ended" };
                batch.add(name, Some(key), pin, &payload);
            }
            batch
        })
        .collect();
    let begun = Instant::now();
    for batch in &batches {
        store
            .append(Sequence::START, batch)
            .expect("Redis does not answer");
    }
    begun.elapsed()
}

/// Calls the store's script directly.
fn through_script(
    connection: &mut Connection,
    sha: &str,
    known: &mut (String, u64),
    from: usize,
) -> Duration {
    let payload = payload();
    let begun = Instant::now();
    for number in from..from + BATCHES {
        let mut command = Cmd::with_capacity(EVENTS * 4 + 15, EVENTS * (PAYLOAD + 128));
        command.arg("EVALSHA").arg(sha).arg(1).arg("{bare}:meta");
        let settings = [6250, 250_000, 64 * 1024 * 1024, 86_400_000, 86_400_000_u64];
        command.arg("writer").arg(&known.0).arg(known.1);
        command.arg("aaaaaaaa").arg("").arg(&settings).arg(number);
        for at in 0..EVENTS {
            let (stream, pin) = event(at, number);
            let pin = match pin {
                Pinning::Open(token) => format!("o{token}"),
                Pinning::Close(token) => format!("c{token}"),
                _ => String::new(),
            };
            let name = if at % 2 == 0 { "started" } else { "ended" };
            command.arg(stream).arg(name).arg(pin).arg(&payload);
        }
        let (head, _oldest, lives): (u64, u64, String) = {
            let values: Vec<redis::Value> =
                command.query(connection).expect("Redis does not answer");
            let text = |at: usize| redis::from_redis_value_ref::<String>(&values[at]);
            let number = |at: usize| text(at).expect("text").parse().expect("not a number");
            (number(0), number(1), text(2).expect("text"))
        };
        if let Some((epoch, _)) = lives.split_once(':') {
            epoch.clone_into(&mut known.0);
        }
        known.1 = head;
    }
    begun.elapsed()
}

/// Writes each event to two Redis streams, one pipeline a batch, without sequences, pins or retention. This is the cost
/// of the data itself.
fn through_pipeline(connection: &mut Connection, from: usize) -> Duration {
    let payload = payload();
    let begun = Instant::now();
    for number in from..from + BATCHES {
        let mut pipe = redis::pipe();
        for at in 0..EVENTS {
            let (stream, _) = event(at, number);
            let name = if at % 2 == 0 { "started" } else { "ended" };
            pipe.cmd("XADD").arg("plain:log").arg("*");
            pipe.arg("n")
                .arg(name)
                .arg("k")
                .arg(&stream)
                .arg("d")
                .arg(&payload)
                .ignore();
            pipe.cmd("XADD").arg(format!("plain:s:{stream}")).arg("*");
            pipe.arg("n").arg(name).arg("d").arg(&payload).ignore();
        }
        pipe.query::<()>(connection).expect("Redis does not answer");
    }
    begun.elapsed()
}

pub(crate) fn run() {
    let server = Server::start();
    let mut connection = server.connect();
    let script = Script::new(concat!(
        "#!lua\n",
        include_str!("../../src/store/redis/lua/common.lua"),
        "\n",
        include_str!("../../src/store/redis/lua/writing.lua"),
        "\n",
        include_str!("../../src/store/redis/lua/retention.lua"),
        "\n",
        include_str!("../../src/store/redis/lua/append.lua")
    ));
    script
        .prepare_invoke()
        .load(&mut connection)
        .expect("the script is invalid");
    let store = RedisEventStore::new(server.url()).expect("the URL is invalid");
    store.open().expect("Redis does not answer");
    let mut known = (String::new(), 0);
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let from = round * BATCHES;
        let taken = [
            through_script(&mut connection, script.get_hash(), &mut known, from),
            through_store(&store, from),
            through_pipeline(&mut connection, from),
        ];
        for (figures, taken) in figures.iter_mut().zip(taken) {
            figures.push(f64::from(ROUND_EVENTS) / taken.as_secs_f64());
        }
    }
    let medians = figures.map(median);
    println!(
        "{:<48} {:>10} {:>10}",
        "batches of 256 events of 300 bytes", "events/s", "/ bare"
    );
    let names = [
        "the same script call, bare client",
        "RedisEventStore",
        "two XADD an event, pipelined, nothing else",
    ];
    for (name, value) in names.into_iter().zip(medians) {
        println!("{name:<48} {value:>10.0} {:>10.2}", value / medians[0]);
    }
}
