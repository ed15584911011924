//! The clients of every peer: one thread, in a process of its own, reads all connections. It does
//! as little with the bytes as the measurement allows.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    str::FromStr,
};

use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::epoll,
    time::{ClockId, clock_gettime},
};

use crate::machine::{CLIENTS_CPU, pin};

/// The first argument of a client process.
pub(crate) const ROLE: &str = "clients";
/// The content of the last event of a load.
pub(crate) const LAST: &str = "the-last-event";
/// The JSON attribute that holds the time of an event's dispatch.
pub(crate) const SENT: &str = "sent";

/// A text that each event of a load contains once. Clients count its occurrences.
pub(crate) const COUNTED: &str = "GET /counted/{id}";

/// Placeholder in a path. Each client replaces it by a trace id of its own.
pub(crate) const TRACE: &str = "TRACE";

const BUFFER: usize = 256 * 1024;
/// Number of bytes at the end of a read that are searched for the last event.
const END: usize = 2048;
/// Number of connections opened at a time. Except for [`Job::Storm`], the server must answer all of
/// them before the next ones are opened.
const CONNECTED_AT_ONCE: usize = 500;
const STDIN: u64 = u64::MAX;

/// The job of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Reads until every connection has got the last event.
    UntilLast,
    /// As [`UntilLast`](Self::UntilLast), but all clients connect at once, and the measured time
    /// includes connecting.
    Storm,
    /// Counts the events on every connection, and reports the count of the slowest one.
    Follow,
    /// Reads everything that arrives.
    Hold,
    /// Reads this many events on every connection, and measures the time from each event's dispatch.
    Latency(u32),
    /// Reads nothing after the first byte of the response.
    Stall,
}

impl Job {
    fn text(self) -> String {
        match self {
            Self::UntilLast => "last".to_owned(),
            Self::Storm => "storm".to_owned(),
            Self::Follow => "follow".to_owned(),
            Self::Hold => "hold".to_owned(),
            Self::Latency(events) => events.to_string(),
            Self::Stall => "stall".to_owned(),
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "last" => Self::UntilLast,
            "hold" => Self::Hold,
            "stall" => Self::Stall,
            "storm" => Self::Storm,
            "follow" => Self::Follow,
            events => Self::Latency(parsed(events)),
        }
    }
}

pub(crate) fn monotonic_nanos() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The client process, as its parent sees it.
pub(crate) struct Clients {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// The clients' measurements. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) begun: i64,
    pub(crate) ended: i64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Clients {
    /// Starts the clients, and waits until each has got the first byte of its response. For [`Job::Storm`], waits only
    /// until each has sent its request.
    pub(crate) fn connect(address: SocketAddr, path: &str, count: u32, job: Job) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a file"))
            .args([ROLE, &address.to_string(), path])
            .args([&count.to_string(), &job.text()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("the process has no pipe"));
        let mut clients = Self {
            child,
            input,
            output,
        };
        assert_eq!(clients.line(), "connected");
        clients
    }

    /// Waits until the slowest client has received more events than at the last call. Returns the
    /// number of its events.
    pub(crate) fn progress(&mut self) -> u32 {
        let mut latest = self.line();
        while self.output.buffer().contains(&b'\n') {
            latest = self.line();
        }
        parsed(&latest)
    }

    /// Waits until the clients have finished their job, and disconnects them.
    pub(crate) fn found(mut self) -> Found {
        self.finished()
    }

    /// Waits until the clients have finished their job.
    pub(crate) fn finished(&mut self) -> Found {
        let line = self.line();
        let mut words = line.split(' ');
        let mut number = || words.next().expect("expected four numbers");
        Found {
            begun: parsed(number()),
            ended: parsed(number()),
            p50: parsed(number()),
            p99: parsed(number()),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("the client process did not answer");
        line.trim_end().to_owned()
    }
}

fn parsed<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse()
        .expect("the client process answered without a number")
}

impl Drop for Clients {
    fn drop(&mut self) {
        // The process ends when its input closes.
        drop(self.input.take());
        self.child
            .wait()
            .expect("could not wait for the client process");
    }
}

/// Runs the client process from start to end.
pub(crate) fn run(arguments: &[String]) {
    let [address, path, count, job] = arguments else {
        panic!("expected an address, a path, a count and a job: {arguments:?}");
    };
    pin(CLIENTS_CPU);
    let mut all = All::connect(
        address.parse().expect("not an address"),
        path,
        parsed(count),
        Job::parse(job),
    );
    println!("connected");
    all.serve();
}

struct Connection {
    stream: TcpStream,
    /// The end of the last read, which may hold part of an event.
    rest: Vec<u8>,
    events: u32,
    is_done: bool,
}

struct All {
    job: Job,
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    done: usize,
    begun: i64,
    latencies: Vec<f64>,
    /// The number of events on the slowest connection, as of the last report.
    slowest: u32,
}

impl All {
    fn connect(address: SocketAddr, path: &str, count: usize, job: Job) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("the system has epoll");
        let mut all = Self {
            job,
            epoll,
            connections: Vec::with_capacity(count),
            buffer: vec![0; BUFFER],
            done: 0,
            begun: monotonic_nanos(),
            latencies: Vec::new(),
            slowest: 0,
        };
        while all.connections.len() < count {
            let from = all.connections.len();
            let streams: Vec<TcpStream> = (from..count.min(from + CONNECTED_AT_ONCE))
                .map(|_| TcpStream::connect(address).expect("the server listens"))
                .collect();
            if job != Job::Storm {
                all.begun = monotonic_nanos();
            }
            for (number, mut stream) in (from..).zip(streams) {
                let trace = format!("{:032x}", number + 1);
                let path = path.replace(TRACE, &trace);
                let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream
                    .write_all(request.as_bytes())
                    .expect("the server reads");
                all.connections.push(Connection {
                    stream,
                    rest: Vec::new(),
                    events: 0,
                    is_done: false,
                });
            }
            if job != Job::Storm {
                all.read_first_bytes(from);
            }
            all.watch(from);
        }
        all
    }

    /// Waits until every connection has received some bytes.
    fn read_first_bytes(&mut self, from: usize) {
        for connection in self.connections.iter_mut().skip(from) {
            let mut first = [0; 1];
            connection
                .stream
                .read_exact(&mut first)
                .expect("the server answers");
        }
    }

    /// Makes the connections from this one on non-blocking, and registers them with epoll.
    fn watch(&mut self, from: usize) {
        for (number, connection) in self.connections.iter().enumerate().skip(from) {
            connection
                .stream
                .set_nonblocking(true)
                .expect("could not configure the socket");
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&self.epoll, &connection.stream, data, epoll::EventFlags::IN)
                .expect("epoll has no room");
        }
    }

    fn serve(&mut self) {
        let stdin = io::stdin();
        let data = epoll::EventData::new_u64(STDIN);
        epoll::add(&self.epoll, &stdin, data, epoll::EventFlags::IN)
            .expect("could not watch standard input");
        if self.job == Job::Stall {
            for connection in &self.connections {
                epoll::delete(&self.epoll, &connection.stream).expect("the socket is registered");
            }
        }
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("waiting failed: {error}"),
            }
            for event in &events {
                let number = event.data.u64();
                if number == STDIN {
                    return;
                }
                self.read(usize::try_from(number).expect("the number is an index"));
            }
            if self.job == Job::Follow {
                self.print_progress();
            }
        }
    }

    fn print_progress(&mut self) {
        let counts = self.connections.iter().map(|connection| connection.events);
        let slowest = counts.min().unwrap_or(0);
        if slowest > self.slowest {
            self.slowest = slowest;
            println!("{slowest}");
        }
    }

    fn read(&mut self, number: usize) {
        loop {
            let connection = &mut self.connections[number];
            let size = match connection.stream.read(&mut self.buffer) {
                Ok(0) if matches!(self.job, Job::Hold) => {
                    epoll::delete(&self.epoll, &connection.stream)
                        .expect("the socket is registered");
                    return;
                }
                Ok(0) => panic!("the server ended the stream"),
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("reading failed: {error}"),
            };
            let read = &self.buffer[..size];
            let is_done = match self.job {
                Job::UntilLast | Job::Storm => connection.finds_last(read),
                Job::Follow => {
                    connection.count(read);
                    false
                }
                Job::Latency(events) => {
                    connection.time(read, &mut self.latencies);
                    connection.events >= events
                }
                Job::Hold | Job::Stall => false,
            };
            if is_done && !connection.is_done {
                connection.is_done = true;
                self.done += 1;
                if self.done == self.connections.len() {
                    self.latencies.sort_by(f64::total_cmp);
                    let at = |part: usize| {
                        let all = &self.latencies;
                        all.get(all.len() * part / 100).copied().unwrap_or(0.0)
                    };
                    println!("{} {} {} {}", self.begun, monotonic_nanos(), at(50), at(99));
                }
            }
            if size < self.buffer.len() {
                return;
            }
        }
    }
}

impl Connection {
    /// Returns whether the last event is among the latest bytes.
    fn finds_last(&mut self, read: &[u8]) -> bool {
        let end = &read[read.len().saturating_sub(END)..];
        self.rest.extend_from_slice(end);
        let found = memmem::find(&self.rest, LAST.as_bytes()).is_some();
        let keep = self.rest.len().saturating_sub(LAST.len());
        self.rest.drain(..keep);
        found
    }

    /// Counts the events that have arrived.
    fn count(&mut self, read: &[u8]) {
        self.rest.extend_from_slice(read);
        let mut end = 0;
        for at in memmem::find_iter(&self.rest, COUNTED.as_bytes()) {
            self.events += 1;
            end = at + COUNTED.len();
        }
        // The counted text may arrive in two parts.
        let keep = self.rest.len().saturating_sub(COUNTED.len() - 1);
        self.rest.drain(..keep.max(end));
    }

    /// Records the latency of every event that has arrived completely.
    fn time(&mut self, read: &[u8], latencies: &mut Vec<f64>) {
        let now = monotonic_nanos();
        self.rest.extend_from_slice(read);
        let key = format!("\"{SENT}\":");
        let mut used = 0;
        while let Some(end) = memmem::find(&self.rest[used..], b"\n\n") {
            let event = &self.rest[used..used + end];
            used += end + 2;
            let Some(at) = memmem::find(event, key.as_bytes()) else {
                continue;
            };
            let digits: Vec<u8> = event[at + key.len()..]
                .iter()
                .copied()
                .take_while(u8::is_ascii_digit)
                .collect();
            let sent: i64 = parsed(std::str::from_utf8(&digits).expect("not digits"));
            let nanos = u32::try_from(now - sent).unwrap_or(u32::MAX);
            latencies.push(f64::from(nanos));
            self.events += 1;
        }
        self.rest.drain(..used);
    }
}
