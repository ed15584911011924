//! The cost of clients that have nothing to read, and of clients that read nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::{Clients, Job, monotonic_nanos},
    load::{Peer, Served, dispatch},
    machine::{process_cpu, resident_bytes},
    measure::median,
};

const CLIENTS: u32 = 10_000;
const TARGET_KIB: f64 = 18.0;
/// Long enough to show an unwanted timer, and short enough to end before the first ping.
const QUIET: Duration = Duration::from_secs(8);
/// Time in which the last connections finish their work before the next measurement.
const SETTLING: Duration = Duration::from_secs(2);

pub(crate) fn report() {
    let served = Peer::Ours.serve();
    // The first clients pay one-time costs, so they are not measured.
    drop(Clients::connect(served.address, "/sse", 100, Job::Hold));
    wait_for(&served, 0);
    let before = resident_bytes();
    let clients = Clients::connect(served.address, "/sse", CLIENTS, Job::Hold);
    wait_for(&served, CLIENTS as usize);
    let each = (resident_bytes() - before) / f64::from(CLIENTS) / 1024.0;
    rest(SETTLING);
    let cpu = process_cpu();
    rest(QUIET);
    let cpu = process_cpu().saturating_sub(cpu);
    println!("\n{CLIENTS} idle clients: {each:.1} KiB RSS each; target {TARGET_KIB}");
    println!("CPU of the whole process in {QUIET:?} without a ping: {cpu:?}");
    drop(clients);
    wait_for(&served, 0);
    let after = (resident_bytes() - before) / f64::from(CLIENTS) / 1024.0;
    println!("memory not returned after all have left: {after:.1} KiB each");
    served.end();
}

fn rest(length: Duration) {
    let until = Instant::now() + length;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

fn wait_for(served: &Served, subscribers: usize) {
    while served.live.target().subscribers() != subscribers {
        thread::yield_now();
    }
}

const READERS: u32 = 10;
const EVENTS: u32 = 200_000;
const ROUNDS: usize = 5;
const STALLED_TARGET: f64 = 0.95;

/// Measures one client that reads nothing, among clients that read.
pub(crate) fn report_stalled() {
    let (mut without, mut with, mut ratios) = <(Vec<f64>, Vec<f64>, Vec<f64>)>::default();
    for _ in 0..ROUNDS {
        let bare = rate(0);
        let beside = rate(1);
        without.push(bare);
        with.push(beside);
        ratios.push(beside / bare);
    }
    println!(
        "\n{READERS} clients, million events a second: {:.2} without and {:.2} with a stalled one beside them, ratio {:.2}; target {STALLED_TARGET}",
        median(without),
        median(with),
        median(ratios)
    );
}

fn rate(stalled: u32) -> f64 {
    let served = Peer::Ours.serve();
    let beside =
        (stalled > 0).then(|| Clients::connect(served.address, "/sse", stalled, Job::Stall));
    let readers = Clients::connect(served.address, "/sse", READERS, Job::UntilLast);
    let begun = monotonic_nanos();
    dispatch(&served.live, EVENTS as usize);
    let found = readers.found();
    drop(beside);
    served.end();
    let micros =
        u32::try_from((found.ended - begun) / 1000).expect("the run took more than an hour");
    f64::from(EVENTS) * f64::from(READERS) / f64::from(micros)
}
