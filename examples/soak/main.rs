//! Runs a load and its readers in one process, for a given time. Readers check the sequence of their events.
//!
//! ```text
//! cargo run --release --example soak -- --minutes 30
//! ```
//!
//! The load goes through the OpenTelemetry SDK into a log with a small retention, which is soon full. Clients connect
//! over TCP, read, stall, disconnect, resume and leave. Every gap and every repetition in their events must be
//! announced, and the process must not grow. After a violation, the soak names it and exits with 1.

mod args;
mod client;
mod ledger;
mod load;
mod process;
mod random;
mod report;
mod sequence;
mod wire;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use livespan::{LiveSpans, Retention};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    args::Options,
    client::{Client, Kind, Phase, SoakState},
    ledger::Ledger,
    load::{Load, LongTraces, dropped},
    process::Sample,
    report::Run,
};

const RETAINED_EVENTS: usize = 100_000;
const RETAINED_BYTES: usize = 32 * 1024 * 1024;
/// Small, so that a burst of the load does not fit.
const BUFFER_EVENTS: usize = 16_384;
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Number of samples between two printed lines.
const SAMPLES_PER_LINE: usize = 10;
/// Time limit for clients to read the remaining events.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit for the server to close the clients' connections.
const FILES_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let options = match args::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = Builder::new_multi_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(options)));
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the soak. Returns the number of violations.
async fn run(options: Options) -> Result<u64, String> {
    let retention = Retention::default()
        .events(RETAINED_EVENTS)
        .bytes(RETAINED_BYTES);
    let live = LiveSpans::builder()
        .retention(retention)
        .buffer_bytes(BUFFER_BYTES)
        .buffer_events(BUFFER_EVENTS)
        .build()
        .map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_span_processor(live.span_processor())
        .build();
    let server = live.serve("127.0.0.1:0").await;
    let server = server.map_err(|error| error.to_string())?;
    let ledger = Arc::new(Ledger::default());
    let traces = Arc::new(LongTraces::default());
    let (phase, seen_phase) = watch::channel(Phase::Load);
    let state = SoakState {
        address: server.local_addr(),
        live: live.clone(),
        ledger: Arc::clone(&ledger),
        traces: Arc::clone(&traces),
        phase: seen_phase,
    };
    println!("soak: {} for {} s", server.url(), options.length.as_secs());
    let before = process::sample()?;
    let begun = Instant::now();
    let load = Load {
        live: live.clone(),
        tracer: provider.tracer("soak"),
        ledger: Arc::clone(&ledger),
        traces,
        rate: options.rate,
    };
    let load = tokio::spawn(load.run(options.length));
    let clients = clients(&state, options);
    let (made, samples, filling) = watch_load(load, &state).await?;
    let took = begun.elapsed();
    provider.force_flush().map_err(|error| error.to_string())?;
    phase.send_replace(Phase::Drain(live.status().head.sequence().get()));
    join(clients, &ledger).await;
    let run = Run {
        options,
        took,
        made,
        before,
        samples,
        filling,
        after: settled(before).await?,
        dropped: dropped(&live),
    };
    let exported = provider.shutdown();
    live.shutdown().map_err(|error| error.to_string())?;
    exported.map_err(|error| error.to_string())?;
    server.wait().await;
    run.check(&ledger);
    run.table(&ledger);
    Ok(ledger.violations())
}

fn clients(state: &SoakState, options: Options) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    clients.spawn(Client::new(state.clone(), Kind::Drops, 0).run());
    for number in 1..=options.clients {
        let kind = if number <= options.everything {
            Kind::Everything
        } else {
            Kind::OneTrace
        };
        clients.spawn(Client::new(state.clone(), kind, number).run());
    }
    clients
}

/// Samples the process once a second until the load is over. Returns the number of spans made, the samples, and how
/// many samples were taken until the log was full.
async fn watch_load(
    mut load: JoinHandle<u64>,
    state: &SoakState,
) -> Result<(u64, Vec<Sample>, usize), String> {
    let begun = Instant::now();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut samples = Vec::new();
    let mut filling = None;
    loop {
        tokio::select! {
            made = &mut load => {
                let made = made.map_err(|error| format!("the load failed: {error}"))?;
                let filling = filling.unwrap_or(samples.len());
                return Ok((made, samples, filling));
            }
            _ = ticks.tick() => {}
        }
        let sample = process::sample()?;
        samples.push(sample);
        let status = state.live.status();
        if status.oldest.sequence().get() > 1 && filling.is_none() {
            filling = Some(samples.len());
        }
        if samples.len().is_multiple_of(SAMPLES_PER_LINE) {
            report::line(begun.elapsed(), &sample, &status, &state.ledger);
        }
    }
}

/// Waits for the clients. A client that panics or does not finish in time is a violation.
async fn join(mut clients: JoinSet<()>, ledger: &Ledger) {
    let all = async {
        while let Some(client) = clients.join_next().await {
            if let Err(error) = client {
                ledger.violate(format!("a client failed: {error}"));
            }
        }
    };
    if timeout(CLIENTS_TIMEOUT, all).await.is_err() {
        let left = clients.len();
        ledger.violate(format!("{left} clients did not finish"));
    }
}

/// Samples the process after the server has closed the clients' connections, or after a time limit.
async fn settled(before: Sample) -> Result<Sample, String> {
    let deadline = Instant::now() + FILES_TIMEOUT;
    let mut ticks = interval(SAMPLE_INTERVAL);
    loop {
        ticks.tick().await;
        let now = process::sample()?;
        if now.files <= before.files || Instant::now() >= deadline {
            return Ok(now);
        }
    }
}
