//! The signals that end the program. After the first one it shuts down its log; a second one ends
//! it at once.

use std::process::ExitCode;

use crate::failure::Failure;

/// The exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

#[cfg(unix)]
mod platform {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    #[derive(Debug)]
    pub(crate) struct Signals {
        interrupt: Signal,
        terminate: Signal,
        hang_up: Signal,
    }

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hang_up: signal(SignalKind::hangup())?,
            })
        }

        /// Waits for a signal. Returns whether it was Ctrl-C.
        pub(crate) async fn received(&mut self) -> bool {
            tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => false,
                _ = self.hang_up.recv() => false,
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{future::pending, io};

    #[derive(Debug)]
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits for a signal. Returns whether it was Ctrl-C.
        pub(crate) async fn received(&mut self) -> bool {
            match tokio::signal::ctrl_c().await {
                Ok(()) => true,
                Err(_) => pending().await,
            }
        }
    }
}

pub(crate) use self::platform::Signals;

impl Signals {
    /// Starts to receive signals. On Unix, from now on a signal does not end the program by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::new().map_err(|error| Failure::of("listen for signals", &error))
    }

    /// Waits for a signal. Returns the exit code: 130 after Ctrl-C, 0 after SIGTERM and SIGHUP.
    pub(crate) async fn next(&mut self) -> ExitCode {
        let is_interrupt = self.received().await;
        let code = if is_interrupt { INTERRUPTED } else { 0 };
        code.into()
    }
}
