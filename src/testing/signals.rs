//! Reports the running tests when the process gets a signal to end, from a person or from a test
//! runner whose time limit has passed. It also reports them when the process aborts: by
//! `std::process::abort`, a stack overflow, a panic during another one's unwinding, or a C library.
//! It runs on a separate thread, which waits for the signals.
//!
//! A process that aborts ends as soon as the handler of SIGABRT returns. So that handler, on the
//! aborting thread, writes a byte to a full pipe. The write blocks until the tests are reported, or
//! until [`REPORT_TIMEOUT`].

use std::{
    env,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGABRT, SIGINT, SIGTERM},
    flag,
    low_level::{emulate_default_handler, pipe},
};
use socket2::SockRef;

use crate::testing::{failure_report::FailureCause, report_thread};

/// How long a process that is ending waits for the reports.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the aborting thread may take to end the process after it was released.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the first test waits until the threads run. They start while the log is being created.
const START_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an aborting fork may take to write its byte.
const FORK_TIMEOUT: Duration = Duration::from_millis(100);
/// The number of bytes to read from a full pipe until it has room again.
const PAGE_BYTES: usize = 4096;
/// Fills a pipe of the usual size with one write.
static FILLING: [u8; 16 * PAGE_BYTES] = [0; 16 * PAGE_BYTES];

/// A signal, and whether it has arrived.
struct WatchedSignal {
    number: i32,
    cause: FailureCause,
    has_come: Arc<AtomicBool>,
}

/// A full pipe to which the handler of SIGABRT writes.
struct AbortBarrier {
    reader: PipeReader,
    writer: PipeWriter,
}

/// The state in which the threads have been started, but the signals are not watched yet.
pub(super) struct StartedWatch {
    watched: Vec<(i32, Arc<AtomicBool>)>,
    wake: PipeWriter,
    /// Receives a message from each thread that runs.
    running: Receiver<()>,
    handler: PipeWriter,
    keeps_waiting: PipeWriter,
}

/// Starts the reporting threads. It watches no signals if `LIVESPAN_TEST_SIGNALS` is 0.
///
/// Invariant: an aborting thread waits only if these threads already run. While a stack overflow is
/// handled, the standard library cannot start a thread.
pub(super) fn start() -> Option<StartedWatch> {
    let (runs, running) = mpsc::channel();
    report_thread::start(runs.clone());
    let is_wanted = env::var_os("LIVESPAN_TEST_SIGNALS").is_none_or(|watch| watch != "0");
    // Without the signals, the tests still run.
    is_wanted.then(|| start_watch(runs, running).ok()).flatten()
}

fn start_watch(runs: Sender<()>, running: Receiver<()>) -> io::Result<StartedWatch> {
    let (woken, wake) = io::pipe()?;
    let barrier = AbortBarrier::new()?;
    let signals = [
        (SIGINT, FailureCause::Signal("SIGINT")),
        (SIGTERM, FailureCause::Signal("SIGTERM")),
        (SIGABRT, FailureCause::Abort),
    ];
    let signals = signals.map(|(number, cause)| WatchedSignal {
        number,
        cause,
        has_come: Arc::default(),
    });
    let watched = signals
        .iter()
        .map(|signal| (signal.number, Arc::clone(&signal.has_come)));
    let started = StartedWatch {
        watched: watched.collect(),
        wake,
        running,
        handler: barrier.writer.try_clone()?,
        keeps_waiting: barrier.writer.try_clone()?,
    };
    let thread = thread::Builder::new().name("livespan-test-signals".to_owned());
    thread.spawn(move || {
        runs.send(()).unwrap_or_default();
        report_at_each(woken, &signals, &barrier);
    })?;
    Ok(started)
}

impl StartedWatch {
    /// Watches for the signals from now on. An abort does not wait for the reports yet.
    pub(super) fn arm(self) -> io::Result<ArmedWatch> {
        // The actions of a signal run in the order of their registration, so the flag is set and
        // the thread is woken before the handler blocks.
        for (number, has_come) in &self.watched {
            flag::register(*number, Arc::clone(has_come))?;
            pipe::register(*number, self.wake.try_clone()?)?;
        }
        Ok(ArmedWatch(self))
    }
}

/// The state in which the signals are watched, but an abort does not wait for the reports yet.
pub(super) struct ArmedWatch(StartedWatch);

impl ArmedWatch {
    /// Makes an abort wait for the reports from now on. The log must be running. If the threads do
    /// not run in time, an abort does not wait.
    pub(super) fn arm_abort(self) -> io::Result<()> {
        let Self(watch) = self;
        for _ in 0..2 {
            let is_running = watch.running.recv_timeout(START_TIMEOUT).is_ok();
            if !is_running {
                return Ok(());
            }
        }
        pipe::register(SIGABRT, watch.handler)?;
        // `register` has made the pipe non-blocking.
        SockRef::from(&watch.keeps_waiting).set_nonblocking(false)
    }
}

fn report_at_each(mut woken: PipeReader, signals: &[WatchedSignal], barrier: &AbortBarrier) {
    let mut wakes = [0; 64];
    while woken.read(&mut wakes).is_ok_and(|count| count > 0) {
        let came = |signal: &&WatchedSignal| signal.has_come.swap(false, Ordering::SeqCst);
        let Some(signal) = signals.iter().find(came) else {
            // No flag is set, so a fork of this process aborts. The fork lacks this thread, but
            // shares the pipes.
            barrier.release();
            thread::park_timeout(FORK_TIMEOUT);
            barrier.fill().unwrap_or_default();
            continue;
        };
        report_thread::report_all(signal.cause, REPORT_TIMEOUT);
        if signal.number == SIGABRT {
            barrier.release();
            thread::park_timeout(ABORT_TIMEOUT);
        }
        // The process now ends as it would have without this thread.
        drop(emulate_default_handler(signal.number));
    }
}

impl AbortBarrier {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let barrier = Self { reader, writer };
        barrier.fill()?;
        Ok(barrier)
    }

    fn fill(&self) -> io::Result<()> {
        let writer = SockRef::from(&self.writer);
        writer.set_nonblocking(true)?;
        let full = loop {
            match (&self.writer).write(&FILLING) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        writer.set_nonblocking(false)?;
        full
    }

    /// Releases the waiting thread.
    fn release(&self) {
        let mut bytes = [0; PAGE_BYTES];
        drop((&self.reader).read(&mut bytes));
    }
}
