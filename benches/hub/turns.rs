//! The worker thread's cost at a steady rate of events, and without events.

use std::{fs, thread, time::Duration};

use crate::{
    clients::{Clients, Job},
    load::{Peer, Served, event, pace},
    machine::{cpu_of, nanos_each},
    measure::{PATIENCE, median},
};

const ROUNDS: usize = 5;
const WORKER: &str = "livespan";
const SECONDS: u32 = 2;
/// Long enough that an unwanted timer would show.
const IDLE: Duration = Duration::from_secs(3);

pub(crate) fn report() {
    println!("\nthe worker with one reader, at a steady rate");
    println!(
        "{:>9} {:>12} {:>10} {:>10}",
        "events/s", "ns an event", "CPU ms/s", "sleeps/s"
    );
    // At 100,000 events/s, ten events are sent together, because timers are coarser than 10 µs.
    for (rate, group) in [(1_000, 1), (3_000, 1), (10_000, 1), (100_000, 10)] {
        let (mut cpu, mut sleeps) = <(Vec<f64>, Vec<f64>)>::default();
        for _ in 0..ROUNDS {
            let (spent, slept) = steady(rate, group);
            cpu.push(spent);
            sleeps.push(slept);
        }
        let cpu = median(cpu);
        println!(
            "{rate:>9} {cpu:>12.0} {:>10.1} {:>10.0}",
            cpu * f64::from(rate) / 1e6,
            median(sleeps)
        );
    }
    let served = Peer::Ours.serve();
    let _reader = Clients::connect(served.address, "/sse", 1, Job::Hold);
    send(&served, 0);
    thread::park_timeout(IDLE / 2);
    let before = sleeps();
    thread::park_timeout(IDLE);
    println!("wake-ups in {IDLE:?} without events: {}", sleeps() - before);
    served.end();
}

/// Sends an event. If the buffer is full, flushes and tries again.
fn send(served: &Served, number: u32) {
    let target = served.live.target();
    while target.try_dispatch(&event(number)).is_err() {
        target.flush(PATIENCE).expect("the flush failed");
    }
}

/// Returns the worker's CPU time per event, in ns, and how often per second it went to sleep.
fn steady(rate: u32, group: u32) -> (f64, f64) {
    let served = Peer::Ours.serve();
    let reader = Clients::connect(served.address, "/sse", 1, Job::Hold);
    let events = rate * SECONDS;
    let (cpu, slept) = (cpu_of(WORKER), sleeps());
    pace(events, rate, group, |number| send(&served, number % 1_000));
    let cpu = cpu_of(WORKER).saturating_sub(cpu);
    let slept = sleeps() - slept;
    drop(reader);
    served.end();
    let events = f64::from(events);
    (nanos_each(cpu, events), slept / f64::from(SECONDS))
}

/// Returns the number of the worker's voluntary context switches: how often it went to sleep.
fn sleeps() -> f64 {
    let mut all = 0;
    for task in fs::read_dir("/proc/self/task")
        .expect("/proc cannot be read")
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim_end() == WORKER {
            let status = read("status");
            let mut lines = status.lines();
            let slept = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            all += slept
                .and_then(|count| count.trim().parse::<u32>().ok())
                .unwrap_or(0);
        }
    }
    f64::from(all)
}
