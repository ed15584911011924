//! The command line of the demo, parsed without a library.
//!
//! An invalid command line yields one line that names the problem.

use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// The dashboard's address without `--addr`.
const DEFAULT_ADDRESS: &str = "127.0.0.1:4380";

/// Visitor requests per second without `--rate`.
const DEFAULT_RATE: f64 = 2.0;

/// Upper bound on the rate.
const RATE_MAX: f64 = 10_000.0;

pub(crate) const HELP: &str = "\
A small web shop with live traffic, watched by livespan.

Usage: demo [OPTIONS]

Options:
  --addr <HOST:PORT>  address of the dashboard; port 0 takes any free port
                      [default: 127.0.0.1:4380]
  --rate <N>          visitor requests per second, may be a fraction; 0 for none [default: 2]
  --requests <N>      stop the traffic after N requests; the dashboard stays up
  --store <STORE>     the store of the events: memory, null, sqlite:PATH or redis://HOST:PORT
                      (the last two with --features sqlite-bundled or redis) [default: memory]
  --help              print this and exit

Press Ctrl-C to stop it.";

/// The user's request.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Options),
    Help,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) requests_per_second: f64,
    pub(crate) requests_max: Option<u64>,
    pub(crate) store: StoreChoice,
}

/// The event stores that this build offers.
#[derive(Debug, Clone)]
pub(crate) enum StoreChoice {
    Memory,
    Null,
    #[cfg(feature = "sqlite")]
    Sqlite(std::path::PathBuf),
    #[cfg(feature = "redis")]
    Redis(String),
}

/// An invalid command line, as one line for the terminal.
#[derive(Debug)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// Returns an error that names an argument that is unknown or not UTF-8, or a flag whose value is
/// missing or invalid.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut address = DEFAULT_ADDRESS.to_owned();
    let mut requests_per_second = DEFAULT_RATE;
    let mut requests_max = None;
    let mut store = StoreChoice::Memory;
    let mut words = arguments.map(text);
    while let Some(word) = words.next() {
        let word = word?;
        // Accepts both `--rate 5` and `--rate=5`.
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = || match inline.clone() {
            Some(value) => Ok(value),
            None => words
                .next()
                .unwrap_or_else(|| Err(UsageError(format!("`{flag}` needs a value (see --help)")))),
        };
        match flag {
            "--help" | "-h" => return Ok(Command::Help),
            "--addr" => address = value()?,
            "--rate" => requests_per_second = parse_rate(&value()?)?,
            "--requests" => requests_max = Some(parse_requests(&value()?)?),
            "--store" => store = parse_store(&value()?)?,
            _ => {
                return Err(UsageError(format!(
                    "unknown argument `{word}` (see --help)"
                )));
            }
        }
    }
    Ok(Command::Run(Options {
        address: parse_address(&address)?,
        requests_per_second,
        requests_max,
        store,
    }))
}

fn text(argument: OsString) -> Result<String, UsageError> {
    argument.into_string().map_err(|argument| {
        UsageError(format!(
            "argument `{}` is not UTF-8",
            argument.to_string_lossy()
        ))
    })
}

fn parse_address(value: &str) -> Result<SocketAddr, UsageError> {
    let wrong = |why: &dyn fmt::Display| {
        UsageError(format!(
            "`--addr {value}` is not an address such as {DEFAULT_ADDRESS}: {why}"
        ))
    };
    let mut addresses = value.to_socket_addrs().map_err(|error| wrong(&error))?;
    addresses
        .next()
        .ok_or_else(|| wrong(&"the name has no address"))
}

fn parse_rate(value: &str) -> Result<f64, UsageError> {
    match value.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(UsageError(format!(
            "`--rate {value}` is not a number from 0 to {RATE_MAX}"
        ))),
    }
}

fn parse_requests(value: &str) -> Result<u64, UsageError> {
    match value.parse() {
        Ok(requests) => Ok(requests),
        Err(error) => Err(UsageError(format!(
            "`--requests {value}` is not a whole number of at least 0: {error}"
        ))),
    }
}

fn parse_store(value: &str) -> Result<StoreChoice, UsageError> {
    match value {
        "memory" => Ok(StoreChoice::Memory),
        "null" => Ok(StoreChoice::Null),
        "sqlite:" => Err(UsageError(
            "`--store sqlite:` needs a path, such as sqlite:spans.db".to_owned(),
        )),
        #[cfg(feature = "sqlite")]
        _ if value.starts_with("sqlite:") => Ok(StoreChoice::Sqlite(
            value.trim_start_matches("sqlite:").into(),
        )),
        #[cfg(feature = "redis")]
        _ if is_redis(value) => Ok(StoreChoice::Redis(value.to_owned())),
        #[cfg(not(feature = "sqlite"))]
        _ if value.starts_with("sqlite:") => Err(lacks(value, "sqlite-bundled")),
        #[cfg(not(feature = "redis"))]
        _ if is_redis(value) => Err(lacks(value, "redis")),
        _ => Err(UsageError(format!(
            "unknown store `{value}`; the choices are memory, null, sqlite:PATH and redis://HOST:PORT"
        ))),
    }
}

fn is_redis(value: &str) -> bool {
    ["redis:", "rediss:", "redis+unix:", "unix:"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

#[cfg(not(all(feature = "sqlite", feature = "redis")))]
fn lacks(value: &str, feature: &str) -> UsageError {
    UsageError(format!(
        "store `{value}` needs `--features {feature}`: cargo run --release --features {feature} --example demo -- --store {value}"
    ))
}
