//! Lines for people and scripts. A reader that has gone away, such as `head`, is no error.

use std::io::{self, Write as _};

/// Writes a message to standard error, with the program's name in front.
pub(crate) fn say(message: &str) {
    drop(writeln!(io::stderr().lock(), "livespan: {message}"));
}

/// Writes a line to standard error.
pub(crate) fn print_error(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Writes a line to standard output, at once. Returns `false` if nobody reads it.
pub(crate) fn print(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}
