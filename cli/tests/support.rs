//! Starts the program, sends requests to it, and ends it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// The time limit of a wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Options with which a server listens on free ports.
pub(crate) const FREE: [&str; 4] = ["--addr", "127.0.0.1:0", "--otlp-addr", "127.0.0.1:0"];

/// A directory that is removed with its contents.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("livespan-cli-{}-{number}", std::process::id());
        // Placed in memory if possible, because a commit to a busy disk may take longer than a log
        // waits.
        let shared = Path::new("/dev/shm").join(&name);
        if fs::create_dir_all(&shared).is_ok() {
            return Self(shared);
        }
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Returns the program with this home directory, and without environment variables that a developer
/// may have set.
pub(crate) fn livespan(home: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livespan"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_foreign = ["LIVESPAN_", "OTEL_", "XDG_", "NO_COLOR", "CLICOLOR"];
        if is_foreign.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end. Returns exit code, standard output and standard error.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A running program. Dropping this value kills the program.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: Lines<ChildStdout>,
    pub(crate) stderr: Lines<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Starts a server and waits until it listens. Returns the server and its address.
    pub(crate) fn serve(command: &mut Command) -> (Self, String) {
        let mut running = Self::start(command);
        let line = running.stdout.next();
        let url = line
            .as_deref()
            .and_then(|line| line.strip_prefix("livespan dashboard: "));
        let Some(url) = url.map(str::to_owned) else {
            panic!("{line:?}, {:?}", running.stderr.rest());
        };
        (running, url)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if the program has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits for the end of a program.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "the program does not end");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The lines of an output. A thread reads them, so that each wait for a line has a limit.
pub(crate) struct Lines<R> {
    lines: mpsc::Receiver<String>,
    output: std::marker::PhantomData<R>,
}

impl<R: std::io::Read + Send + 'static> Lines<R> {
    fn of(output: R) -> Self {
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            lines,
            output: std::marker::PhantomData,
        }
    }

    /// Returns the next line, or `None` at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no further line"),
        }
    }

    /// Returns the remaining lines.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Sends a request to a page's address. Returns status and body.
pub(crate) fn request(
    url: &str,
    method: &str,
    path: &str,
    (headers, body): (&str, &str),
) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, _) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub(crate) fn get(url: &str, path: &str) -> (u16, String) {
    request(url, "GET", path, ("", ""))
}

/// Returns the events in a file, in order.
pub(crate) fn stored(file: &Path) -> Vec<serde_json::Value> {
    let store = livespan::SqliteEventStore::new(file).read_only();
    let live = livespan::LiveSpans::builder().store(store).build().unwrap();
    let head = live.status().head.sequence().get();
    let mut subscription = live.target().subscribe(livespan::sse::Subscribe::all());
    let mut events = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        while (events.len() as u64) < head {
            let next = std::future::poll_fn(|cx| {
                futures_core::Stream::poll_next(std::pin::Pin::new(&mut subscription), cx)
            });
            match tokio::time::timeout(PATIENCE, next).await.unwrap() {
                Some(livespan::sse::Message::Event(event)) => {
                    events.push(serde_json::from_slice(&event.payload).unwrap());
                }
                other => panic!("{other:?} after {events:?}"),
            }
        }
    });
    events
}
