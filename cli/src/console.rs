//! Output for people and scripts. A failed write is not an error, because a reader such as `head` may have closed the
//! pipe.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

/// Writes a message to standard error, after the program's name.
pub(crate) fn print_message(message: &str) {
    drop(writeln!(io::stderr().lock(), "livespan: {message}"));
}

/// Writes a line to standard error.
pub(crate) fn print_error(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Writes a line to standard output without delay. Returns `false` if that fails, for example
/// because the reader closed the pipe.
pub(crate) fn print(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// Whether lines are coloured. The default is to colour lines on a terminal. `NO_COLOR` turns
/// colours off; otherwise `CLICOLOR_FORCE` turns them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Always,
    Never,
}

impl Colour {
    pub(crate) fn of_stdout() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_forced =
            env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        if !is_set("NO_COLOR") && (is_forced || io::stdout().is_terminal()) {
            Self::Always
        } else {
            Self::Never
        }
    }

    /// Colours a less important text.
    pub(crate) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Colours the text of a success.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Colours the text of a failure.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Always if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Always | Self::Never => text.to_owned(),
        }
    }
}
