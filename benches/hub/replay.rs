//! Replays a full log to late clients.

use livespan::{LiveSpans, MemoryEventStore};

use crate::{
    clients::{Clients, Found, Job},
    load::{Filling, filled, serve_beside_raw, trace_id},
    machine::cpu_of,
    measure::median,
    raw,
};

const ROUNDS: usize = 5;
const TARGET: f64 = 0.9;
const FILTERED_EVENTS: u32 = 1_000_000;
const FILTERED_ROUNDS: usize = 21;
const SENDER: &str = "livespan-http";

pub(crate) fn report() {
    println!(
        "\nreplay, until the last client has all of it, in ms; CPU of the sending thread in ms"
    );
    println!(
        "{:>9} {:>7} {:<14} {:>8} {:>8} {:>6} {:>7} {:>9} {:>9}",
        "events", "clients", "log filled", "raw", "ours", "ratio", "target", "raw CPU", "ours CPU"
    );
    for (events, clients) in [(1_000_000, 1), (100_000, 100)] {
        for filling in [Filling::Bursts, Filling::Singly] {
            replay(events, clients, filling);
        }
    }
}

fn replay(events: u32, clients: u32, filling: Filling) {
    let live = live(filled(events, filling));
    let (raw, ours) = serve_beside_raw(&live);
    let mut figures = <[Vec<f64>; 5]>::default();
    for _ in 0..ROUNDS {
        let [raw, ours] = [(raw, raw::THREAD), (ours, SENDER)].map(|(address, sender)| {
            let cpu = cpu_of(sender);
            let found = Clients::connect(address, "/sse", clients, Job::UntilLast).found();
            let cpu = cpu_of(sender).saturating_sub(cpu);
            (milliseconds(found), cpu.as_secs_f64() * 1e3)
        });
        let row = [raw.0, ours.0, raw.0 / ours.0, raw.1, ours.1];
        for (figures, figure) in figures.iter_mut().zip(row) {
            figures.push(figure);
        }
    }
    let [raw, ours, ratio, raw_cpu, ours_cpu] = figures.map(median);
    println!(
        "{events:>9} {clients:>7} {:<14} {raw:>8.1} {ours:>8.1} {ratio:>6.2} {TARGET:>7.2} {raw_cpu:>9.1} {ours_cpu:>9.1}",
        filling.name()
    );
    live.shutdown().expect("the shutdown failed");
}

fn milliseconds(Found { begun, ended, .. }: Found) -> f64 {
    f64::from(u32::try_from((ended - begun) / 1000).expect("the run took more than an hour")) / 1e3
}

fn live(store: MemoryEventStore) -> LiveSpans {
    LiveSpans::builder()
        .store(store)
        .build()
        .expect("livespan did not start")
}

/// Replays one trace with 50 events that are spread over the whole log.
pub(crate) fn report_filtered() {
    let live = live(filled(FILTERED_EVENTS, Filling::Mixed));
    let (_, ours) = serve_beside_raw(&live);
    let path = format!(
        "/traces/{}/sse",
        trace_id(Filling::Mixed.trace_of(FILTERED_EVENTS - 1))
    );
    let mut spent = Vec::new();
    for _ in 0..FILTERED_ROUNDS {
        let before = cpu_of(SENDER);
        Clients::connect(ours, &path, 1, Job::UntilLast).found();
        spent.push(cpu_of(SENDER).saturating_sub(before).as_secs_f64() * 1e3);
    }
    println!(
        "\none trace of 50 events out of {FILTERED_EVENTS}: {:.3} ms of the server's CPU, connection and request included; target 1",
        median(spent)
    );
    live.shutdown().expect("the shutdown failed");
}
