//! Figures of the operating system about this process.

use std::fs;

/// One sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
}

/// Samples memory, threads and open files.
///
/// # Errors
///
/// Returns an error if `/proc` lacks the figures, as on systems other than Linux.
pub(crate) fn sample() -> Result<Sample, String> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc/self/status: {error}"))?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| format!("/proc/self/status has no {name}"))
    };
    let files = fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc/self/fd: {error}"))?;
    Ok(Sample {
        resident_kib: number("VmRSS:")?,
        threads: number("Threads:")?,
        // Does not count the descriptor with which this directory is read.
        files: (files.count() as u64).saturating_sub(1),
    })
}
