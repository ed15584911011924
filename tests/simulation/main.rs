//! The whole log on a simulated machine. The log's own threads, the writers and the readers run one
//! at a time. At every lock, atomic operation and wait, a seed decides which of them runs next.
//! Time is simulated, and the store fails by a script. Readers are cut, writers are faster than the
//! log, and the log may end at any time. At the end, the observations of all tasks must be
//! consistent.
//!
//! Each run can be repeated:
//!
//! ```text
//! cargo test -p livespan-simulation -- --seed 17
//! cargo test -p livespan-simulation -- --seeds 1000000
//! ```
//!
//! The modules of the log are compiled into this program, with [`sync`] in place of the crate's
//! own. There is no test harness, because the modules' own tests do not run on such a machine.

#![expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the modules are the crate's; their tests are compiled but not called"
)]

mod checks;
mod clock;
mod history;
mod plan;
mod random;
mod schedule;
mod scripted_store;
mod shared;
mod util;

#[path = "../../src/engine/mod.rs"]
mod engine;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/ingest/mod.rs"]
mod ingest;
#[path = "../../src/log/mod.rs"]
mod log;
#[path = "../../src/reader/mod.rs"]
mod reader;
#[path = "../../src/sse/mod.rs"]
mod sse;
#[path = "../../src/store/mod.rs"]
mod store;
#[path = "../../src/wire/mod.rs"]
mod wire;

use std::{
    cell::RefCell,
    env,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::{checks::Coverage, schedule::Seeded};

/// Default number of seeds.
const SEEDS: u64 = 4000;
/// Upper bound on the steps of a run. A run with more steps counts as an endless loop.
const STEPS_MAX: usize = 2_000_000;
const STACK_BYTES: usize = 512 * 1024;

thread_local! {
    static PANICS: RefCell<Vec<String>> = RefCell::default();
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config
}

/// Runs one seed. Prints the history if `is_verbose` is set. Returns the broken promise as an error.
fn run(seed: u64, is_verbose: bool) -> Result<Coverage, String> {
    PANICS.take();
    let is_eager = seed % 2 == 1;
    let runner = Runner::new(Seeded::new(seed, is_eager), config());
    let end = Arc::new(OnceLock::new());
    let over = Arc::clone(&end);
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            _ = over.set(history::play(seed, is_eager, is_verbose));
        })
    }));
    match (played, end.get()) {
        (Ok(_), Some(coverage)) => Ok(*coverage),
        (Ok(_), None) => Err("deadlock: every task waits for another".to_owned()),
        // The last panic is the failure. Earlier ones are panics that the history causes on purpose.
        (Err(_), _) => Err(PANICS.take().pop().unwrap_or_default()),
    }
}

/// Runs these seeds. Returns the first seed that fails and its reason, or the events of interest of
/// all seeds.
fn run_all(seeds: &Range<u64>, is_verbose: bool) -> Result<Coverage, (u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let run_some = || {
        let mut all = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(all);
            }
            let coverage = run(seed, is_verbose).map_err(|why| {
                next.store(seeds.end, Ordering::Relaxed);
                (seed, why)
            })?;
            all.add(coverage);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(run_some)).collect();
        let mut all = Coverage::default();
        for worker in workers {
            all.add(worker.join().expect("a run returns its panics as errors")?);
        }
        Ok(all)
    })
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = env::args().skip_while(|argument| argument != name);
    arguments
        .nth(1)
        .map(|number| number.parse().expect("the argument is not a number"))
}

fn main() -> ExitCode {
    // shuttle installs its panic hook at the first run, so the hook is replaced after that.
    Runner::new(Seeded::new(0, false), config()).run(|| ());
    // Histories cause panics on purpose. Their messages are printed only if a promise is broken.
    panic::set_hook(Box::new(|info| {
        PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
    }));
    let (seeds, is_verbose) = match argument("--seed") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..argument("--seeds").unwrap_or(SEEDS), false),
    };
    match run_all(&seeds, is_verbose) {
        Ok(coverage) if is_verbose || coverage.missing().is_empty() => {
            println!("{coverage}{} seeds passed", seeds.end - seeds.start);
            ExitCode::SUCCESS
        }
        Ok(coverage) => {
            println!(
                "{coverage}no history had {:?}: run more seeds",
                coverage.missing()
            );
            ExitCode::FAILURE
        }
        Err((seed, why)) => {
            println!(
                "{why}\n\nseed {seed} fails; to repeat it: cargo test -p livespan-simulation -- --seed {seed}"
            );
            ExitCode::FAILURE
        }
    }
}
