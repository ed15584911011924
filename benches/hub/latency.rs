//! The time from an event's dispatch until its bytes are at the client. The rates are so low that everything is idle
//! between two events.

use std::{
    thread,
    time::{Duration, Instant},
};

use livespan::SpanEvent;

use crate::{
    clients::{Clients, Job, SENT, monotonic_nanos},
    load::{Peer, span_id, trace_id},
    measure::median,
};

const ROUNDS: usize = 5;
const TARGET: f64 = 1.5;

pub(crate) fn report() {
    println!("\nlatency from dispatch to client, in µs");
    println!(
        "{:>8} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9} {:>6} {:>7}",
        "clients",
        "events/s",
        "raw p50",
        "ours p50",
        "ratio",
        "raw p99",
        "ours p99",
        "ratio",
        "target"
    );
    for (clients, rate, events) in [(100, 200, 400), (1, 10, 30)] {
        let mut figures = <[Vec<f64>; 4]>::default();
        for _ in 0..ROUNDS {
            let raw = measure(Peer::Raw, clients, rate, events);
            let ours = measure(Peer::Ours, clients, rate, events);
            let row = [raw.0, ours.0, raw.1, ours.1];
            for (figures, figure) in figures.iter_mut().zip(row) {
                figures.push(figure / 1e3);
            }
        }
        let [raw50, ours50, raw99, ours99] = figures.map(median);
        println!(
            "{clients:>8} {rate:>9} {raw50:>9.0} {ours50:>9.0} {:>6.2} {raw99:>9.0} {ours99:>9.0} {:>6.2} {TARGET:>7.2}",
            ours50 / raw50,
            ours99 / raw99,
        );
    }
}

fn measure(peer: Peer, clients: u32, rate: u32, events: u32) -> (f64, f64) {
    let served = peer.serve();
    let connected = Clients::connect(served.address, "/sse", clients, Job::Latency(events));
    let begun = Instant::now();
    for number in 0..events {
        let due = begun + Duration::from_secs(1) * number / rate;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        let event = SpanEvent::started(trace_id(number), span_id(number), "GET /orders/{id}")
            .attribute(SENT, monotonic_nanos());
        served
            .live
            .target()
            .try_dispatch(&event)
            .expect("the buffer has room");
    }
    let found = connected.found();
    served.end();
    (found.p50, found.p99)
}
