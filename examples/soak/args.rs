//! The command line of the soak. An invalid argument yields an error of one line.

use std::{ffi::OsString, time::Duration};

pub(crate) const HELP: &str = "\
Runs a load whose readers check every event, for a given time. Names each violation, and then exits with 1.

Usage: soak [--minutes N | --seconds N] [OPTIONS]

Options:
  --minutes <N>     run time in minutes [default: 30]
  --seconds <N>     run time in seconds, at least 10
  --rate <N>        spans per second [default: 5000]
  --clients <N>     readers over TCP [default: 200]
  --everything <N>  readers that read all events; each of the others reads one trace [default: 40]
  --help            print this and exit";

/// The user's options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) length: Duration,
    pub(crate) rate: u64,
    pub(crate) clients: usize,
    pub(crate) everything: usize,
}

/// Reads the arguments after the program's name. Returns `None` if the user asks for help.
///
/// # Errors
///
/// Names the first flag that is unknown or lacks a valid number, or flags that contradict each other.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Options>, String> {
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let mut seconds = 30 * 60;
    let mut options = Options {
        length: Duration::ZERO,
        rate: 5_000,
        clients: 200,
        everything: 40,
    };
    while let Some(flag) = arguments.next() {
        if flag == "--help" {
            return Ok(None);
        }
        let mut number = |range: std::ops::RangeInclusive<u64>| {
            let value = arguments.next().unwrap_or_default();
            let parsed = value.parse().ok().filter(|number| range.contains(number));
            let (low, high) = (range.start(), range.end());
            parsed
                .ok_or_else(|| format!("{flag} takes a number from {low} to {high}, not {value:?}"))
        };
        match flag.as_str() {
            "--minutes" => seconds = number(1..=10_000)? * 60,
            "--seconds" => seconds = number(10..=600_000)?,
            "--rate" => options.rate = number(100..=1_000_000)?,
            "--clients" => options.clients = small(number(2..=5_000)?),
            "--everything" => options.everything = small(number(1..=5_000)?),
            _ => return Err(format!("unknown flag {flag:?}; see --help")),
        }
    }
    if options.everything > options.clients {
        return Err("--everything must not exceed --clients".to_owned());
    }
    options.length = Duration::from_secs(seconds);
    Ok(Some(options))
}

fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
