//! Delivers live events to many clients, as fast as possible.

use std::collections::BTreeMap;

use crate::{
    clients::{Clients, Job, LAST, monotonic_nanos},
    handmade::{self, Started},
    load::{Peer, dispatch},
    machine::{cpu_of, nanos_each},
    measure::median,
};

const ROUNDS: usize = 5;

/// Clients, events, and the target ratio to the raw server.
const SIZES: [(u32, u32, f64); 4] = [
    (1, 400_000, 0.65),
    (10, 200_000, 0.75),
    (100, 40_000, 0.9),
    (1_000, 5_000, 0.7),
];
/// Number of events for the handmade hub, which is slower. A single client gets ten times as many.
const HANDMADE_EVENTS: u32 = 5_000;
const HANDMADE_TARGET: f64 = 10.0;

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    sender: Vec<f64>,
}

impl Figures {
    fn add(&mut self, (rate, sender): (f64, f64)) {
        self.rates.push(rate);
        self.sender.push(sender);
    }
}

pub(crate) fn report() {
    println!(
        "\nlive fan-out, million events delivered a second; CPU of the sending thread in ns an event delivered"
    );
    println!(
        "{:>8} {:>7} {:>7} {:>6} {:>7} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "clients",
        "raw",
        "ours",
        "ratio",
        "target",
        "raw ns",
        "ours ns",
        "in an app",
        "hand-made",
        "ours / it"
    );
    for (clients, events, target) in SIZES {
        let (mut raw, mut ours, mut handmade) = <(Figures, Figures, Vec<f64>)>::default();
        let mut router = Figures::default();
        for _ in 0..ROUNDS {
            raw.add(deliver(Peer::Raw, clients, events));
            ours.add(deliver(Peer::Ours, clients, events));
            router.add(deliver(Peer::Router, clients, events));
            if clients <= 100 {
                handmade.push(deliver_by_hand(
                    clients,
                    HANDMADE_EVENTS * 10 / clients.min(10),
                ));
            }
        }
        // Compares figures of one round, because the machine's other load changes between rounds.
        let beside_raw = |figures: &Figures| {
            let pairs = figures.rates.iter().zip(&raw.rates);
            median(pairs.map(|(one, raw)| one / raw).collect())
        };
        let (ratio, in_app) = (beside_raw(&ours), beside_raw(&router));
        let ours_rate = median(ours.rates);
        print!(
            "{clients:>8} {:>7.2} {ours_rate:>7.2} {ratio:>6.2} {target:>7.2} {:>8.0} {:>8.0} {in_app:>9.2}",
            median(raw.rates),
            median(raw.sender),
            median(ours.sender),
        );
        if handmade.is_empty() {
            println!();
        } else {
            let handmade = median(handmade);
            println!(" {handmade:>10.2} {:>10.1}", ours_rate / handmade);
        }
    }
    println!("the target beside the hand-made way, with 100 clients: {HANDMADE_TARGET}");
}

/// Returns the rate in million events per second, and the sender's cost per event.
fn deliver(peer: Peer, clients: u32, events: u32) -> (f64, f64) {
    let served = peer.serve();
    let connected = Clients::connect(served.address, "/sse", clients, Job::UntilLast);
    let cpu = cpu_of(peer.sender());
    let begun = monotonic_nanos();
    dispatch(&served.live, events as usize);
    let found = connected.found();
    let delivered = f64::from(events) * f64::from(clients);
    let cpu = cpu_of(peer.sender()).saturating_sub(cpu);
    served.end();
    (
        rate(delivered, begun, found.ended),
        nanos_each(cpu, delivered),
    )
}

fn deliver_by_hand(clients: u32, events: u32) -> f64 {
    let (address, sender) = handmade::serve(1 << 17);
    let connected = Clients::connect(address, "/sse", clients, Job::UntilLast);
    let begun = monotonic_nanos();
    for number in 0..events {
        let name = if number + 1 == events {
            LAST
        } else {
            "GET /orders/{id}/items"
        };
        let sent = sender.send((u64::from(number), started(number, name)));
        assert!(sent.is_ok(), "no reader is connected");
    }
    let found = connected.found();
    rate(f64::from(events) * f64::from(clients), begun, found.ended)
}

fn rate(delivered: f64, begun: i64, ended: i64) -> f64 {
    let micros = u32::try_from((ended - begun) / 1000).expect("the run took more than an hour");
    delivered / f64::from(micros)
}

fn started(number: u32, name: &str) -> Started {
    Started {
        r#type: "started",
        trace_id: format!("{:032x}", number / 50),
        span_id: format!("{number:016x}"),
        parent_span_id: Some(format!("{:016x}", number / 50)),
        name: name.to_owned(),
        kind: "CLIENT",
        service: "shop".to_owned(),
        scope: "shop::orders".to_owned(),
        attributes: BTreeMap::new(),
        timestamp: "2026-11-22T11:39:00.123456789Z".to_owned(),
    }
}
