//! A reconnect storm: many clients connect at once, and each gets the events that it has missed.

use std::{thread, time::Duration};

use livespan::LiveSpans;

use crate::{
    clients::{Clients, Job},
    load::{Filling, Peer, filled, serve_beside_raw},
    machine::cpu_of,
    measure::median,
};

const ROUNDS: usize = 7;
const CLIENTS: u32 = 1_000;
const EVENTS: u32 = 100;
const TARGET: f64 = 0.7;
const SETTLING: Duration = Duration::from_millis(100);

pub(crate) fn report() {
    let live = LiveSpans::builder()
        .store(filled(EVENTS, Filling::Bursts))
        .build()
        .expect("livespan starts");
    let (raw, ours) = serve_beside_raw(&live);
    let mut figures = <[Vec<f64>; 6]>::default();
    for _ in 0..ROUNDS {
        let [raw, ours] = [(raw, Peer::Raw), (ours, Peer::Ours)].map(|(address, peer)| {
            // Our server is still closing the connections of the last round.
            while live.target().subscribers() > 1 {
                thread::yield_now();
            }
            thread::park_timeout(SETTLING);
            let cpu = cpu_of(peer.sender());
            let mut clients = Clients::connect(address, "/sse", CLIENTS, Job::Storm);
            let found = clients.finished();
            let cpu = cpu_of(peer.sender()).saturating_sub(cpu);
            let micros = u32::try_from((found.ended - found.begun) / 1000);
            let micros = micros.expect("the run took more than an hour");
            (f64::from(micros) / 1e3, cpu.as_secs_f64() * 1e3)
        });
        let row = [raw.0, ours.0, raw.0 / ours.0, raw.1, ours.1, raw.1 / ours.1];
        for (figures, figure) in figures.iter_mut().zip(row) {
            figures.push(figure);
        }
    }
    let [raw, ours, ratio, raw_cpu, ours_cpu, cpu_ratio] = figures.map(median);
    println!(
        "\nreconnect storm, {CLIENTS} clients, {EVENTS} events each, in ms: raw {raw:.1}, ours {ours:.1}, ratio {ratio:.2}; target {TARGET}"
    );
    println!(
        "CPU of the sending thread, in ms: raw {raw_cpu:.1}, ours {ours_cpu:.1}, ratio {cpu_ratio:.2}"
    );
    live.shutdown().expect("the shutdown failed");
}
