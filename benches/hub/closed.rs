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
/// Clients and events.
const SIZES: [(u32, u32); 4] = [(1, 100_000), (10, 50_000), (100, 10_000), (1_000, 2_000)];
const TARGET: f64 = 0.8;
/// Number of different events, which belong to traces of 50 events each.
const EVENTS: u32 = 1_000;

pub(crate) fn report() {
    println!(
        "\nclosed loop, {AHEAD} events ahead of the slowest reader, million events delivered a second, beside a raw hub without a log"
    );
    println!(
        "{:>8} {:>7} {:>7} {:>6} {:>7}   best rounds: {:>7} {:>7} {:>6}",
        "clients", "raw", "ours", "ratio", "target", "raw", "ours", "ratio"
    );
    for (clients, events) in SIZES {
        let (mut raw, mut ours, mut ratios) = <(Vec<f64>, Vec<f64>, Vec<f64>)>::default();
        for _ in 0..ROUNDS {
            let bare = rate(Hub::raw(), clients, events);
            let rate = rate(Hub::ours(), clients, events);
            raw.push(bare);
            ours.push(rate);
            ratios.push(rate / bare);
        }
        let best = [&mut raw, &mut ours].map(|rates| percentile(rates, 90));
        println!(
            "{clients:>8} {:>7.2} {:>7.2} {:>6.2} {TARGET:>7.2}                {:>7.2} {:>7.2} {:>6.2}",
            median(raw),
            median(ours),
            median(ratios),
            best[0],
            best[1],
            best[1] / best[0]
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
    let micros = u32::try_from((monotonic_nanos() - begun) / 1000).expect("it takes seconds");
    drop(connected);
    hub.end();
    f64::from(events) * f64::from(clients) / f64::from(micros)
}
