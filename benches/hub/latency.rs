//! The time from an event's dispatch until its bytes are at the client. It is measured at rates so
//! low that everything is idle between two events, and at 1,000 events a second.

use livespan::SpanEvent;

use crate::{
    clients::{Clients, Job, SENT, monotonic_nanos},
    load::{Hub, Peer, pace, span_id, trace_id},
    measure::{median, percentile},
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
    pace(events, rate, 1, |number| {
        served
            .live
            .target()
            .try_dispatch(&timed(number))
            .expect("the buffer is full");
    });
    let found = connected.found();
    served.end();
    (found.p50, found.p99)
}

fn timed(number: u32) -> SpanEvent {
    SpanEvent::started(trace_id(number), span_id(number), "GET /orders/{id}")
        .attribute(SENT, monotonic_nanos())
}

const PACED_RATE: u32 = 1_000;
/// Rounds are short, so that other programs disturb only some of them.
const PACED_EVENTS: u32 = 500;
const PACED_ROUNDS: usize = 21;
const PACED_TARGET: f64 = 3.0;

/// Measures the latency at 1,000 events a second, beside a raw hub that has no log.
pub(crate) fn report_paced() {
    println!("\nlatency at {PACED_RATE} events a second, in µs, beside a raw hub without a log");
    println!(
        "{:>8} {:>9} {:>9} {:>6} {:>7} {:>9} {:>9} {:>6}   best rounds, p50: {:>9} {:>9} {:>6}",
        "clients",
        "raw p50",
        "ours p50",
        "ratio",
        "target",
        "raw p99",
        "ours p99",
        "ratio",
        "raw",
        "ours",
        "ratio"
    );
    for clients in [1, 10, 100] {
        let mut figures = <[Vec<f64>; 6]>::default();
        for _ in 0..PACED_ROUNDS {
            let raw = paced(Hub::raw(), clients);
            let ours = paced(Hub::ours(), clients);
            let ratios = (ours.0 / raw.0, ours.1 / raw.1);
            let row = [raw.0, ours.0, ratios.0, raw.1, ours.1, ratios.1];
            for (figures, figure) in figures.iter_mut().zip(row) {
                figures.push(figure);
            }
        }
        let [best_raw, best_ours, ..] = figures.each_mut().map(|figures| percentile(figures, 10));
        let [raw50, ours50, ratio50, raw99, ours99, ratio99] = figures.map(median);
        println!(
            "{clients:>8} {raw50:>9.0} {ours50:>9.0} {ratio50:>6.2} {PACED_TARGET:>7.2} {raw99:>9.0} {ours99:>9.0} {ratio99:>6.2}                     {best_raw:>9.0} {best_ours:>9.0} {:>6.2}",
            best_ours / best_raw
        );
    }
}

/// Returns the median and the 99th percentile of the latency, in µs.
fn paced(hub: Hub, clients: u32) -> (f64, f64) {
    let connected = Clients::connect(hub.address(), "/sse", clients, Job::Latency(PACED_EVENTS));
    pace(PACED_EVENTS, PACED_RATE, 1, |number| {
        hub.send(number, &timed(number));
    });
    let found = connected.found();
    hub.end();
    (found.p50 / 1e3, found.p99 / 1e3)
}
