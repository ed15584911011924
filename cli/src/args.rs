//! The command line. A value that is not given here or in the environment may come from the configuration
//! ([`config`](crate::config)), so it has no default here. The help of each command fits on one screen.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::units;

/// Watch programs run: shows spans while they are open.
#[derive(Debug, Parser)]
#[command(
    name = "livespan",
    version,
    args_conflicts_with_subcommands = true,
    mut_args = |argument| if ["help", "version"].contains(&argument.get_id().as_str()) { argument } else { argument.hide(true) },
    after_help = "Without a command it serves. `livespan COMMAND --help` has the options of a command, and\n\
        `livespan serve --help` those of serving."
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
}

/// Everything before the command.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// Address of the page [default: that of a livespan that serves, or
    /// 127.0.0.1:4380, or a free port if that is taken]
    #[arg(long, value_name = "HOST:PORT", env = "LIVESPAN_ADDR", hide_env = true)]
    pub(crate) addr: Option<String>,
    /// SQLite file of the log [default: the log is in memory]
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Token of readers and senders; its variable is safer
    #[arg(long, value_name = "TOKEN", env = "LIVESPAN_TOKEN", hide_env = true)]
    pub(crate) auth_token: Option<String>,
    /// Name of the service, for programs that have none
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep the page after the end, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Keep the page until somebody has looked, at most this long
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

/// How the log is kept and served. Each has a variable `LIVESPAN_…` and a key in the configuration.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeOptions {
    /// Address of the page and of OTLP [default: 127.0.0.1:4380]
    #[arg(long, value_name = "HOST:PORT", env = "LIVESPAN_ADDR", hide_env = true)]
    pub(crate) addr: Option<String>,
    /// Further address of OTLP, repeatable [default: ports 4317, 4318]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "LIVESPAN_OTLP_ADDR",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) otlp_addr: Vec<String>,
    /// SQLite file of the log [default: in your state directory]
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
    /// Token of readers and senders; its variable is safer
    #[arg(long, value_name = "TOKEN", env = "LIVESPAN_TOKEN", hide_env = true)]
    pub(crate) auth_token: Option<String>,
    /// Origin whose pages may read and send, repeatable
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "LIVESPAN_ALLOW_ORIGIN",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) allow_origin: Vec<String>,
    /// Further name of this machine, repeatable
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
    /// Show what this livespan shows, too, repeatable
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
