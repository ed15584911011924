//! Figures of the operating system: processor time per thread, memory, and the processor on which a thread runs.

#![allow(dead_code, reason = "each bench uses only a part")]

use std::{fs, time::Duration};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// The processor of the server's threads, which make, encode and send events.
pub(crate) const SERVER_CPU: usize = 0;
pub(crate) const CLIENTS_CPU: usize = 1;

/// Pins this thread, and the threads that it starts later, to one processor.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    // On a machine with one processor, the threads stay where they are.
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not kept on processor {cpu}: {error}");
    }
}

/// Raises the limit of open files to the maximum that the system allows this process.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("could not raise the limit to the hard limit");
}

/// Returns the processor time of all threads of this process.
pub(crate) fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.try_into().expect("the processor time is negative")
}

/// Returns the processor time of this process's running threads with this name.
pub(crate) fn cpu_of(name: &str) -> Duration {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")
        .expect("/proc cannot be read")
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // The kernel keeps only 15 bytes of a thread's name.
        if read("comm").trim_end() == &name[..name.len().min(15)] {
            let spent = read("schedstat");
            let first = spent.split(' ').next();
            nanos += first
                .and_then(|nanos| nanos.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    Duration::from_nanos(nanos)
}

/// Returns the resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc cannot be read");
    let kibibytes: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("the kernel reports no such figure");
    f64::from(kibibytes) * 1024.0
}

/// Returns the processor time per item, in nanoseconds.
pub(crate) fn nanos_each(spent: Duration, things: f64) -> f64 {
    spent.as_secs_f64() * 1e9 / things
}
