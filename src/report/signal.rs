//! Prints the open spans when the process gets a signal, for a service that hangs and has no page.
//! A separate thread waits for the signal and prints. So no work is done in the signal handler, and
//! the spans are printed even while the program's other threads hang.

use std::{
    io::{self, Write as _},
    sync::{Arc, Weak},
    thread,
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    error::Error,
    live_spans::{LiveSpans, LiveSpansShared},
};

impl LiveSpans {
    /// Prints [`running_text`](Self::running_text) to the standard error each time the process gets
    /// SIGQUIT (`kill -QUIT`, or Ctrl-\ in a terminal). Call it once, at the start of the program.
    ///
    /// - **It replaces the default action**: SIGQUIT no longer ends the process, even after the log
    ///   has been shut down. A handler that other code installs by `signal-hook` or tokio runs as
    ///   well.
    /// - A thread of its own, `livespan-signal`, waits and prints. It needs no runtime of the
    ///   program, and ends when the log is shut down or its last handle is dropped.
    /// - If several signals arrive while the thread is printing, it prints one more text for all of
    ///   them.
    ///
    /// ```no_run
    /// let live = livespan::LiveSpans::builder().build()?;
    /// live.dump_on_signal()?; // then, from another terminal: pkill -QUIT my-service
    /// # Ok::<(), livespan::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the signal cannot be watched, or if the thread cannot be started.
    #[cfg_attr(docsrs, doc(cfg(all(unix, feature = "http"))))]
    pub fn dump_on_signal(&self) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("watch the signal SIGQUIT", error);
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(failed)?;
        let quit = {
            let _entered = runtime.enter();
            signal(SignalKind::quit()).map_err(failed)?
        };
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::downgrade(&self.shared);
        thread::Builder::new()
            .name("livespan-signal".to_owned())
            .spawn(move || print_at_each(&runtime, quit, stopped, &shared))
            .map_err(failed)?;
        // Without a shutdown, the sender is dropped with the log.
        self.on_shutdown(move |_deadline| drop(stop));
        Ok(())
    }
}

fn print_at_each(
    runtime: &Runtime,
    mut quit: Signal,
    mut stopped: oneshot::Receiver<()>,
    shared: &Weak<LiveSpansShared>,
) {
    while runtime.block_on(next(&mut quit, &mut stopped)) {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let text = LiveSpans { shared }.running_text();
        // If standard error cannot be written, there is no other place to report that.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// Waits for the signal. Returns `false` if the log was shut down first.
async fn next(quit: &mut Signal, stopped: &mut oneshot::Receiver<()>) -> bool {
    tokio::select! {
        biased;
        _ = stopped => false,
        signal = quit.recv() => signal.is_some(),
    }
}
