//! The figures of the run, the bounds on some of them, and the table at the end.

use std::{ops::Range, time::Duration};

use livespan::sse::Status;

use crate::{args::Options, ledger::Ledger, process::Sample};

/// Minimum number of samples after the log was full. With fewer, memory growth cannot be judged. One sample is taken
/// per second.
const SAMPLES_MIN: usize = 60;
/// Upper bound on the growth of resident memory, from the median of the middle third to that of the last third.
const GROWTH_PERCENT_MAX: u64 = 10;
/// Allowance for sockets that one side has closed and the other side has not closed yet.
const FILES_SLACK: u64 = 64;
/// Below this share of the requested load, the machine was too slow for the test.
const LOAD_PERCENT_MIN: u64 = 80;

/// The figures of the process and the log.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) took: Duration,
    /// Spans made at the fixed rate, without the bursts.
    pub(crate) made: u64,
    /// The sample taken before the first client connected.
    pub(crate) before: Sample,
    /// One sample per second.
    pub(crate) samples: Vec<Sample>,
    /// Number of samples taken before the log was full.
    pub(crate) filling: usize,
    /// The sample taken after the last client had disconnected.
    pub(crate) after: Sample,
    pub(crate) dropped: u64,
}

/// Prints the line that appears every ten seconds.
pub(crate) fn line(elapsed: Duration, sample: &Sample, status: &Status, ledger: &Ledger) {
    println!(
        "{:>6} s  {} spans  {} events read  {} MiB resident  {} threads  {} files  {} streams  {} kept  {} gaps  \
         {} violations",
        elapsed.as_secs(),
        ledger.spans.get(),
        ledger.events.get(),
        sample.resident_kib / 1024,
        sample.threads,
        sample.files,
        status.subscribers,
        status.retained_events,
        ledger.gaps.get(),
        ledger.violations(),
    );
}

impl Run {
    /// Reports each figure that is out of its bounds as a violation.
    pub(crate) fn check(&self, ledger: &Ledger) {
        let rate = self.rate();
        if rate * 100 < self.options.rate * LOAD_PERCENT_MIN {
            let asked = self.options.rate;
            ledger.violate(format!("the load was {rate} spans/s instead of {asked}"));
        }
        if ledger.announced_drops.get() != self.dropped {
            let (announced, dropped) = (ledger.announced_drops.get(), self.dropped);
            ledger.violate(format!(
                "{dropped} events were dropped but {announced} were announced"
            ));
        }
        if let Some([middle, last]) = self.memory()
            && last * 100 > middle * (100 + GROWTH_PERCENT_MAX)
        {
            ledger.violate(format!(
                "resident memory grew: {middle} KiB, then {last} KiB"
            ));
        }
        let [low, high] = self.range(|one| one.threads);
        if low != high {
            ledger.violate(format!("there were {low} to {high} threads"));
        }
        // Both ends of a connection are files of this process.
        let files_max = self.before.files + 2 * (self.options.clients as u64 + 1) + FILES_SLACK;
        let [_, files] = self.range(|one| one.files);
        if files > files_max {
            ledger.violate(format!(
                "{files} files were open; at most {files_max} were expected"
            ));
        }
        let (before, after) = (self.before.files, self.after.files);
        if after > before {
            ledger.violate(format!(
                "{after} files are still open; {before} were open before the load"
            ));
        }
        if ledger.resumed.get() == 0 || ledger.traces.get() == 0 {
            ledger.violate("no client resumed, or none read a trace to its end".to_owned());
        }
    }

    pub(crate) fn table(&self, ledger: &Ledger) {
        let [threads, threads_max] = self.range(|one| one.threads);
        let [files, files_max] = self.range(|one| one.files);
        let memory = self.memory().map_or_else(
            || "not judged: the run was too short".to_owned(),
            |[middle, last]| format!("{} MiB, then {} MiB", middle / 1024, last / 1024),
        );
        let rows = [
            ("time", format!("{} s", self.took.as_secs())),
            (
                "spans",
                format!(
                    "{}, {} a second without bursts",
                    ledger.spans.get(),
                    self.rate()
                ),
            ),
            ("events read by clients", ledger.events.get().to_string()),
            (
                "bytes read by clients",
                format!("{} MiB", ledger.bytes.get() >> 20),
            ),
            ("connections, fresh", ledger.fresh.get().to_string()),
            ("connections, resumed", ledger.resumed.get().to_string()),
            ("stalls", ledger.stalls.get().to_string()),
            (
                "gaps, and events lost in them",
                format!("{}, {}", ledger.gaps.get(), ledger.lost.get()),
            ),
            ("traces read to their end", ledger.traces.get().to_string()),
            (
                "of them counted to the event",
                ledger.traces_counted.get().to_string(),
            ),
            (
                "dropped, and announced",
                format!("{}, {}", self.dropped, ledger.announced_drops.get()),
            ),
            ("resident, medians of thirds", memory),
            ("threads", format!("{threads} to {threads_max}")),
            (
                "open files",
                format!(
                    "{files} to {files_max}, {} before, {} after",
                    self.before.files, self.after.files
                ),
            ),
            ("violations", ledger.violations().to_string()),
        ];
        println!();
        for (name, value) in rows {
            println!("{name:<32}{value}");
        }
        for what in ledger.named() {
            println!("violation: {what}");
        }
    }

    fn rate(&self) -> u64 {
        let milliseconds = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        self.made * 1000 / milliseconds.max(1)
    }

    fn range(&self, of: impl Fn(&Sample) -> u64) -> [u64; 2] {
        let all = || self.samples.iter().map(&of);
        [all().min().unwrap_or(0), all().max().unwrap_or(0)]
    }

    /// Returns the median resident memory of the middle and of the last third of the samples, in KiB.
    fn memory(&self) -> Option<[u64; 2]> {
        let full = self.samples.get(self.filling..)?;
        if full.len() < SAMPLES_MIN {
            return None;
        }
        let third = full.len() / 3;
        let median = |range: Range<usize>| {
            let samples = full.get(range)?.iter();
            let mut sizes: Vec<u64> = samples.map(|one| one.resident_kib).collect();
            sizes.sort_unstable();
            sizes.get(sizes.len() / 2).copied()
        };
        Some([median(third..2 * third)?, median(2 * third..3 * third)?])
    }
}
