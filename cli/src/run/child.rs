//! Runs the command as a child process with our input and output, passes signals on to it, and
//! reports how it ended.
//!
//! At a terminal, the child is in our process group, so the terminal itself sends it Ctrl-C and
//! Ctrl-\. The other signals that are passed on are sent to the child alone. Without a terminal,
//! the child gets a process group of its own. All these signals are then sent to that group, so
//! programs that the command has started receive them, too.

use std::{
    ffi::OsString,
    fmt,
    io::{self, IsTerminal as _},
    process::{ExitCode, ExitStatus},
};

use tokio::process::Command;

use crate::failure::Failure;

/// Shells add this to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;
/// The exit code of shells for a command that cannot be found.
const NOT_FOUND: u8 = 127;
/// The exit code of shells for a command that cannot be started.
const NOT_STARTED: u8 = 126;

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exit(i32),
    Signal(i32),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return Self::Signal(signal);
        }
        Self::Exit(status.code().unwrap_or(1))
    }

    pub(super) fn is_success(self) -> bool {
        self == Self::Exit(0)
    }

    /// Returns the exit code that a shell would report.
    pub(super) fn exit_code(self) -> ExitCode {
        let code = match self {
            Self::Exit(code) => code,
            Self::Signal(signal) => SIGNALLED + signal,
        };
        u8::try_from(code & 0xff).unwrap_or(1).into()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "the command ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "the command was ended by signal {signal}"),
        }
    }
}

/// Runs the command with these environment variables in addition to ours, and waits until it ends.
pub(super) async fn run(
    command: &[OsString],
    variables: Vec<(String, String)>,
) -> Result<Ended, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::usage("there is no command to run"));
    };
    let is_at_terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
    let mut child = Command::new(program);
    child.args(arguments).envs(variables);
    #[cfg(unix)]
    if !is_at_terminal {
        child.process_group(0);
    }
    // From here on, a signal is passed on and no longer ends this program.
    #[cfg(unix)]
    let mut forwarded = unix::Forwarded::listen(is_at_terminal)?;
    let mut child = child.spawn().map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_STARTED,
        };
        let program = program.to_string_lossy();
        Failure::with_code(code, format!("failed to run {program}: {error}"))
    })?;
    #[cfg(unix)]
    let pid = child.id();
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| Failure::of("wait for the command", &error))?;
                return Ok(Ended::of(status));
            }
            signal = next_signal(
                #[cfg(unix)]
                &mut forwarded,
            ) => {
                #[cfg(unix)]
                unix::send(signal, pid, is_at_terminal);
                #[cfg(not(unix))]
                let () = signal;
            }
        }
    }
}

#[cfg(unix)]
async fn next_signal(forwarded: &mut unix::Forwarded) -> rustix::process::Signal {
    forwarded.next().await
}

/// Waits for Ctrl-C, which then does not end this program. The console sends it to the command as
/// well.
#[cfg(not(unix))]
async fn next_signal() {
    drop(tokio::signal::ctrl_c().await);
}

#[cfg(unix)]
mod unix {
    use futures_util::future::select_all;
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    use tokio::signal::unix::{SignalKind, signal};

    use crate::failure::Failure;

    /// The signals that are passed on. A terminal itself sends the first two to its whole process
    /// group.
    const PASSED_ON: [Signal; 6] = [
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
    ];
    const BY_TERMINAL: usize = 2;

    #[derive(Debug)]
    pub(super) struct Forwarded {
        streams: Vec<(Signal, tokio::signal::unix::Signal)>,
        is_at_terminal: bool,
    }

    impl Forwarded {
        pub(super) fn listen(is_at_terminal: bool) -> Result<Self, Failure> {
            let streams = PASSED_ON.iter().map(|number| {
                let stream = signal(SignalKind::from_raw(number.as_raw()))?;
                Ok((*number, stream))
            });
            let streams: std::io::Result<Vec<_>> = streams.collect();
            let streams = streams.map_err(|error| Failure::of("listen for signals", &error))?;
            Ok(Self {
                streams,
                is_at_terminal,
            })
        }

        /// Waits for a signal that must be passed on.
        pub(super) async fn next(&mut self) -> Signal {
            loop {
                let received = self.streams.iter_mut().map(|(number, stream)| {
                    let number = *number;
                    Box::pin(async move {
                        stream.recv().await;
                        number
                    })
                });
                let (number, ..) = select_all(received).await;
                let by_terminal = PASSED_ON.iter().take(BY_TERMINAL);
                if !(self.is_at_terminal && by_terminal.clone().any(|one| *one == number)) {
                    return number;
                }
            }
        }
    }

    /// Sends a signal to the command. A command that has ended in the meantime gets none.
    pub(super) fn send(signal: Signal, pid: Option<u32>, is_at_terminal: bool) {
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let Some(pid) = pid else { return };
        let _is_sent = if is_at_terminal {
            kill_process(pid, signal).is_ok()
        } else {
            kill_process_group(pid, signal).is_ok()
        };
    }
}
