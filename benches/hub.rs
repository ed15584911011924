//! Measures the log as a hub: how fast events reach the clients, and at which cost. Some cases also
//! measure two peers: a raw TCP server, as the limit of the loopback, and axum's `Sse` over a
//! `broadcast` channel, the usual alternative.
//!
//! Run it with `cargo bench -p livespan-benches --bench hub`. Names after `--` choose among
//! `fanout`, `closed`, `paced`, `storm`, `turns`, `replay`, `latency`, `idle`, `stalled`, `quiet`
//! and `filtered`. All servers run on one processor. The clients run in a separate process on
//! another processor. Peers are interleaved in rounds, and medians are printed: compare the ratios.

#[path = "measure/app.rs"]
mod app;
#[path = "hub/clients.rs"]
mod clients;
#[path = "hub/closed.rs"]
mod closed;
#[path = "hub/fanout.rs"]
mod fanout;
#[path = "hub/handmade.rs"]
mod handmade;
#[path = "hub/idle.rs"]
mod idle;
#[path = "hub/latency.rs"]
mod latency;
#[path = "hub/load.rs"]
mod load;
#[path = "measure/machine.rs"]
mod machine;
mod measure;
#[path = "hub/quiet.rs"]
mod quiet;
#[path = "hub/raw.rs"]
mod raw;
#[path = "hub/replay.rs"]
mod replay;
#[path = "hub/storm.rs"]
mod storm;
#[path = "hub/turns.rs"]
mod turns;

use machine::{SERVER_CPU, pin, raise_open_files};
use measure::is_wanted;

fn main() {
    raise_open_files();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = arguments.as_slice()
        && role == clients::ROLE
    {
        return clients::run(rest);
    }
    pin(SERVER_CPU);
    let cases: [(&str, fn()); 11] = [
        ("fanout", fanout::report),
        ("closed", closed::report),
        ("paced", latency::report_paced),
        ("storm", storm::report),
        ("turns", turns::report),
        ("replay", replay::report),
        ("filtered", replay::report_filtered),
        ("latency", latency::report),
        ("idle", idle::report),
        ("stalled", idle::report_stalled),
        ("quiet", quiet::report),
    ];
    for (case, report) in cases {
        if is_wanted(case) {
            report();
        }
    }
}
