//! The command line. An option of `serve` that is set neither here nor in the environment may come
//! from the configuration ([`config`](crate::config)), so it has no default here. The help of each
//! command fits on one screen.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::units;

/// Watch programs run: shows spans while they are open.
#[derive(Debug, Parser)]
#[command(
    name = "livespan",
    version,
    args_conflicts_with_subcommands = true,
    mut_args = |argument| if ["help", "version"].contains(&argument.get_id().as_str()) { argument } else { argument.hide(true) },
    after_help = "Without a command it serves. `livespan COMMAND --help` has the options of a\n\
        command, and `livespan serve --help` those of serving."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive spans and serve the page (this is the default)
    Serve(ServeOptions),
    /// Run a command, and show what it does
    Run(RunOptions),
    /// Open the page on a file: a store or a trace file
    Open(OpenOptions),
    /// Print the open spans, and what they wait for
    Running(RunningOptions),
    /// List the newest traces that match a search
    Traces(TracesOptions),
    /// Print one trace as a tree
    Trace(TraceOptions),
    /// Print spans and log records as they come
    Tail(TailOptions),
    /// Wait until a trace matches a search
    Wait(WaitOptions),
    /// Print problems (exit code 1 if there are any)
    Problems(ProblemsOptions),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OpenOptions {
    /// The file: a SQLite store, or a trace file in JSON
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Address of the page [default: a free port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) addr: Option<String>,
    /// Do not open a browser at a terminal
    #[arg(long)]
    pub(crate) no_browser: bool,
}

/// The livespan to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct AskOptions {
    /// Address of the page [default: 127.0.0.1:4380]
    #[arg(long, value_name = "URL", env = "LIVESPAN_URL", hide_env = true)]
    pub(crate) url: Option<String>,
    /// Token of readers; its variable is safer
    #[arg(long, value_name = "TOKEN", env = "LIVESPAN_TOKEN", hide_env = true)]
    pub(crate) auth_token: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunningOptions {
    /// Search for traces, as on the page
    #[arg(value_name = "SEARCH")]
    pub(crate) query: Vec<String>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TracesOptions {
    /// Search for traces, as on the page: state:error duration>1s
    #[arg(value_name = "SEARCH")]
    pub(crate) query: Vec<String>,
    /// Traces to list at most [default: 20]
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TraceOptions {
    /// Id of the trace, or its first digits
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Point in time: 2026-11-30T14:40:12Z, or 2.5s
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TailOptions {
    /// Words, and filters: service: name: kind: status: type: trace:
    #[arg(value_name = "SEARCH")]
    pub(crate) query: Vec<String>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

/// Exit code 0: it happened; 1: time limit reached; 2: wrong usage; 3: no livespan answers.
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitOptions {
    /// Search for traces, as on the page: state:running
    #[arg(value_name = "SEARCH")]
    pub(crate) query: Vec<String>,
    /// Time limit, such as 60 or 5m [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    pub(crate) timeout: Option<Duration>,
    /// match, end (of --trace) or quiet [default: match]
    #[arg(
        long,
        value_enum,
        default_value_t = Until::Match,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) until: Until,
    /// Id of a trace, or its first digits
    #[arg(long, value_name = "ID")]
    pub(crate) trace: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

/// The condition that `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    Match,
    End,
    Quiet,
}

impl Until {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::End => "end",
            Self::Quiet => "quiet",
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ProblemsOptions {
    /// Search for traces, as on the page
    #[arg(value_name = "SEARCH")]
    pub(crate) query: Vec<String>,
    /// Print only problems after this cursor of an answer
    #[arg(long, value_name = "CURSOR")]
    pub(crate) since: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

/// The options of `livespan run`. They come before the command.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// Address of the page, or of a livespan to join
    #[arg(long, value_name = "HOST:PORT", env = "LIVESPAN_ADDR", hide_env = true)]
    pub(crate) addr: Option<String>,
    /// SQLite file of the log [default: in memory]
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Token of readers and senders
    #[arg(long, value_name = "TOKEN", env = "LIVESPAN_TOKEN", hide_env = true)]
    pub(crate) auth_token: Option<String>,
    /// Service name, for programs that set none
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep the page after the end, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Keep the page for a viewer, at most this long
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) linger: Option<Duration>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,
}

/// The options of the log and its server. Each has an environment variable `LIVESPAN_…` and, except
/// `--config`, a key in the configuration.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeOptions {
    /// Address of the page [default: 127.0.0.1:4380]
    #[arg(long, value_name = "HOST:PORT", env = "LIVESPAN_ADDR", hide_env = true)]
    pub(crate) addr: Option<String>,
    /// Further OTLP addresses [default: 4317, 4318]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "LIVESPAN_OTLP_ADDR",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) otlp_addr: Vec<String>,
    /// SQLite file [default: in your state directory]
    #[arg(
        long,
        value_name = "FILE",
        env = "LIVESPAN_STORE",
        hide_env = true,
        conflicts_with = "memory"
    )]
    pub(crate) store: Option<PathBuf>,
    /// Keep the log in memory
    #[arg(long, env = "LIVESPAN_MEMORY", hide_env = true)]
    pub(crate) memory: bool,
    /// Token of readers and senders
    #[arg(long, value_name = "TOKEN", env = "LIVESPAN_TOKEN", hide_env = true)]
    pub(crate) auth_token: Option<String>,
    /// Origin whose pages may read and send
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "LIVESPAN_ALLOW_ORIGIN",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) allow_origin: Vec<String>,
    /// Allowed host name, repeatable
    #[arg(
        long,
        value_name = "HOST",
        env = "LIVESPAN_ALLOW_HOST",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) allow_host: Vec<String>,
    /// Events to keep at most
    #[arg(
        long,
        value_name = "COUNT",
        env = "LIVESPAN_RETENTION_EVENTS",
        hide_env = true
    )]
    pub(crate) retention_events: Option<usize>,
    /// Bytes to keep at most, such as 8GiB
    #[arg(long, value_name = "SIZE", env = "LIVESPAN_RETENTION_BYTES", hide_env = true, value_parser = units::bytes)]
    pub(crate) retention_bytes: Option<usize>,
    /// Age of the oldest event, such as 30d
    #[arg(long, value_name = "TIME", env = "LIVESPAN_RETENTION_AGE", hide_env = true, value_parser = units::duration)]
    pub(crate) retention_age: Option<Duration>,
    /// Livespan to follow, repeatable
    #[arg(
        long,
        value_name = "URL",
        env = "LIVESPAN_FOLLOW",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) follow: Vec<String>,
    /// Token for the livespans that are followed
    #[arg(
        long,
        value_name = "TOKEN",
        env = "LIVESPAN_FOLLOW_TOKEN",
        hide_env = true
    )]
    pub(crate) follow_token: Option<String>,
    /// Configuration [default: livespan/config.toml]
    #[arg(long, value_name = "FILE", env = "LIVESPAN_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_of_every_command_fits_on_one_screen() {
        let mut root = Arguments::command();
        root.build();
        let mut helps = vec![("livespan".to_owned(), root.render_help().to_string())];
        for command in root.get_subcommands_mut() {
            helps.push((
                command.get_name().to_owned(),
                command.render_help().to_string(),
            ));
        }
        let too_large = helps.iter().filter(|(_, help)| {
            help.lines().count() > 24 || help.lines().any(|line| line.chars().count() > 80)
        });
        let too_large: Vec<_> = too_large.collect();
        assert!(too_large.is_empty(), "{too_large:#?}");
        root.debug_assert();
    }
}
