//! What the benches share: choosing cases, clocks and medians.

#![allow(dead_code, reason = "each bench takes what it needs")]

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// The longest wait for anything: then something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this case is asked for: all are when none is named.
pub(crate) fn is_wanted(case: &str) -> bool {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    named.is_empty() || named.iter().any(|name| name == case)
}

/// CPU time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into()
        .expect("a clock that started at zero is not negative")
}

/// How often this thread has waited for something (`voluntary_ctxt_switches` of proc(5)).
pub(crate) fn voluntary_switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .expect("the kernel counts them")
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50)
}

/// The value below which so many in a hundred are.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * percent / 100]
}

/// Prints the medians of two loops and what share of the bare one's rate the other reaches.
pub(crate) fn compare(what: &str, unit: &str, bare: Vec<f64>, other: Vec<f64>) {
    let (bare, other) = (median(bare), median(other));
    let share = 100.0 * other / bare;
    println!("{what}: bare {bare:.0} {unit}, livespan {other:.0} {unit}, {share:.0} %");
}
