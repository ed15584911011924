//! A closed loop: the program stays at most a few hundred events ahead of its slowest reader.

use livespan::SpanEvent;

use crate::{
    clients::{COUNTED, Clients, Job, monotonic_nanos},
    load::{Hub, span_id, trace_id},
    measure::{median, percentile},
};

const ROUNDS: usize = 9;
/// How many events the program may be ahead of its slowest reader.
const AHEAD: u32 = 512;
/// The number of clients and of events in each measurement.
const SIZES: [(u32, u32); 4] = [(1, 100_000), (10, 50_000), (100, 10_000), (1_000, 2_000)];
const TARGET: f64 = 0.8;
/// Number of different events, which belong to traces of 50 events each.
const EVENTS: u32 = 1_000;

pub(crate) fn report() {
    println!(
        "\nclosed loop, {AHEAD} events ahead of the slowest reader, million events delivered a second: a raw hub without a log, ours, and our log without the span layer"
    );
    println!(
        "{:>8} {:>7} {:>7} {:>6} {:>7} {:>7} {:>6}   best rounds: {:>7} {:>7} {:>6} {:>7} {:>6}",
        "clients",
        "raw",
        "ours",
        "ratio",
        "target",
        "log",
        "ratio",
        "raw",
        "ours",
        "ratio",
        "log",
        "ratio"
    );
    for (clients, events) in SIZES {
        let mut rates: [Vec<f64>; 3] = Default::default();
        let mut ratios: [Vec<f64>; 2] = Default::default();
        for _ in 0..ROUNDS {
            let round = [Hub::raw(), Hub::ours(), Hub::log()].map(|hub| rate(hub, clients, events));
            for (all, rate) in rates.iter_mut().zip(round) {
                all.push(rate);
            }
            let [raw, ours, log] = round;
            ratios[0].push(ours / raw);
            ratios[1].push(log / raw);
        }
        let best = rates.each_mut().map(|rates| percentile(rates, 90));
        let [raw, ours, log] = rates.map(median);
        let [ratio, log_ratio] = ratios.map(median);
        println!(
            "{clients:>8} {raw:>7.2} {ours:>7.2} {ratio:>6.2} {TARGET:>7.2} {log:>7.2} {log_ratio:>6.2}                \
             {:>7.2} {:>7.2} {:>6.2} {:>7.2} {:>6.2}",
            best[0],
            best[1],
            best[1] / best[0],
            best[2],
            best[2] / best[0]
        );
    }
}

/// Returns the rate of delivery in million events per second.
fn rate(hub: Hub, clients: u32, events: u32) -> f64 {
    let all: Vec<SpanEvent> = (0..EVENTS)
        .map(|number| SpanEvent::started(trace_id(number / 50), span_id(number), COUNTED))
        .collect();
    let mut connected = Clients::connect(hub.address(), "/sse", clients, Job::Follow);
    let begun = monotonic_nanos();
    let mut got = 0;
    for (number, event) in (0..events).zip(all.iter().cycle()) {
        while number >= got + AHEAD {
            got = connected.progress();
        }
        hub.send(number, event);
    }
    while got < events {
        got = connected.progress();
    }
    let micros =
        u32::try_from((monotonic_nanos() - begun) / 1000).expect("the run took more than an hour");
    drop(connected);
    hub.end();
    f64::from(events) * f64::from(clients) / f64::from(micros)
}
