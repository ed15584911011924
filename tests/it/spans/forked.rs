//! A process that forks while it makes spans. The child has no log thread, and must neither hang
//! nor fail for that reason.

use std::{
    env,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use fork::Fork;
use livespan::LiveSpans;
use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry_sdk::trace::RandomIdGenerator;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::live_provider::{Watched, provider_of};
use crate::support::PATIENCE;

const FORKED: &str = "the event log belongs to the process that this one was forked from";
const FORKS: usize = 25;
const SPANS: u64 = 5_000;
/// Upper bound on the events in the buffer. The buffer also has a bound in bytes.
const BUFFER: usize = 1024;

/// Runs in a forked child. Returns whether all promises were kept.
fn live_in_a_fork(watched: &Watched) -> bool {
    let tracer = watched.tracer();
    for _ in 0..SPANS {
        tracer.start("of the child").end();
    }
    let flushed = watched.live.target().flush(PATIENCE);
    let noticed = flushed.is_err_and(|error| error.is_closed() && error.to_string() == FORKED);
    let dropped = watched.live.target().dropped();
    // Everything beyond the buffer's bound is counted as dropped, and no other part holds events.
    let counted = dropped.starts + dropped.ends + BUFFER as u64 >= 2 * SPANS;
    let refused = [
        watched.provider.force_flush().is_err(),
        watched.provider.shutdown().is_err(),
        watched.live.shutdown().is_err(),
    ];
    noticed && counted && refused == [true; 3]
}

/// Waits for a child, and kills one that hangs.
fn outcome(child: Pid) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG).unwrap() {
            return status.exit_status();
        }
        if begun.elapsed() > PATIENCE / 2 {
            kill_process(child, Signal::KILL).unwrap();
            waitpid(Some(child), WaitOptions::empty()).unwrap();
            return None;
        }
        thread::yield_now();
    }
}

#[test]
#[ignore = "not a test: the next test starts it as a separate process"]
fn fork_while_others_make_spans() {
    if env::var_os("LIVESPAN_TEST_FORKS").is_none() {
        return;
    }
    let live = LiveSpans::builder()
        .buffer_bytes(0)
        .buffer_events(BUFFER)
        .build()
        .unwrap();
    let provider = provider_of(&live)
        .with_id_generator(RandomIdGenerator::default())
        .build();
    let watched = Watched { live, provider };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Keeps locks busy, so that one of them is probably held when the process forks.
        scope.spawn(|| {
            let tracer = watched.tracer();
            while !done.load(Ordering::Relaxed) {
                tracer.start("of the parent").end();
                watched.live.target().flush(PATIENCE).unwrap();
            }
        });
        for _ in 0..FORKS {
            match fork::fork().unwrap() {
                Fork::Child => std::process::exit(i32::from(!live_in_a_fork(&watched))),
                Fork::Parent(child) => {
                    let child = Pid::from_raw(child).unwrap();
                    assert_eq!(outcome(child), Some(0));
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(watched.live.status().ended, None);
    watched.tracer().start("last").end();
    watched.provider.force_flush().unwrap();
    watched.provider.shutdown().unwrap();
    watched.live.shutdown().unwrap();
}

#[test]
fn a_fork_loses_only_its_own_spans_and_its_parent_continues() {
    let status = Command::new(env::current_exe().unwrap())
        .args([
            "spans::forked::fork_while_others_make_spans",
            "--exact",
            "--ignored",
        ])
        .env("LIVESPAN_TEST_FORKS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
