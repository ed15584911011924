//! Helpers of the benches: choice of cases, clocks and medians.

#![allow(dead_code, reason = "each bench uses only a part")]

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Upper bound on a wait. A bench that waits longer counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns whether this case was requested. Without names on the command line, every case is requested.
pub(crate) fn is_wanted(case: &str) -> bool {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    named.is_empty() || named.iter().any(|name| name == case)
}

/// Returns the CPU time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into()
        .expect("a clock that started at zero is not negative")
}

/// Returns the number of this thread's voluntary context switches (`voluntary_ctxt_switches` of proc(5)).
pub(crate) fn voluntary_switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .expect("the kernel reports no such figure")
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50)
}

/// Returns the value at this percentile.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * percent / 100]
}

/// Prints the medians of two loops, and the rate of the second as a share of the bare loop's rate.
pub(crate) fn compare(what: &str, unit: &str, bare: Vec<f64>, other: Vec<f64>) {
    let (bare, other) = (median(bare), median(other));
    let share = 100.0 * other / bare;
    println!("{what}: bare {bare:.0} {unit}, livespan {other:.0} {unit}, {share:.0} %");
}
