//! The limit of the loopback: one thread writes all pending bytes to each socket. The bytes come
//! from a log's stream ([`serve`]), or from the thread that makes the events ([`serve_fed`]).
//! The hub's thread parses no HTTP and has no timer, no filter and no bound on memory.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use bytes::Bytes;
use http_body::Body as _;
use livespan::sse::SseBody;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, epoll, eventfd},
};

pub(crate) const THREAD: &str = "raw-hub";

/// The listener's backlog, the same as tokio's.
const BACKLOG: i32 = 1024;
const FEED: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;
/// Maximum number of slices that one call writes.
const SLICES: usize = 256;

/// Serves the stream from its first byte until it ends. Returns once the hub has read the bytes that already exist.
pub(crate) fn serve(body: impl FnOnce() -> SseBody + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has no address");
    let (ready, is_ready) = mpsc::channel();
    spawn(move || {
        // The stream needs a runtime for the timer of its pings. Nothing drives that timer here.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime starts");
        let _entered = runtime.enter();
        let mut hub = Hub::new(
            listener,
            Source::Log(Box::pin(body())),
            Arc::new(WakeFd::new()),
        );
        hub.take();
        ready.send(()).expect("the caller waits");
        hub.run();
    });
    is_ready.recv().expect("the hub starts");
    address
}

/// Serves the bytes written to the returned feed, until the feed is dropped. A client gets only the
/// bytes written after it connects.
pub(crate) fn serve_fed() -> (SocketAddr, Feed) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has no address");
    let queue = Arc::new(FeedQueue {
        pending: Mutex::default(),
        wake_fd: Arc::new(WakeFd::new()),
    });
    let source = Source::Feed(Arc::clone(&queue));
    let feed = Feed(Arc::clone(&queue));
    spawn(move || Hub::new(listener, source, Arc::clone(&queue.wake_fd)).run());
    (address, feed)
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(THREAD.to_owned());
    thread.spawn(run).expect("a thread starts");
}

/// Wakes the hub's thread while it waits for sockets.
struct WakeFd(OwnedFd);

impl WakeFd {
    fn new() -> Self {
        Self(eventfd(0, EventfdFlags::NONBLOCK).expect("the system has eventfd"))
    }

    fn signal(&self) {
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).expect("the counter does not overflow");
    }
}

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.signal();
    }
}

/// The bytes written to the feed that the hub has not read, and whether the feed has ended.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    is_over: bool,
}

struct FeedQueue {
    pending: Mutex<Pending>,
    wake_fd: Arc<WakeFd>,
}

/// Feeds bytes to a hub.
pub(crate) struct Feed(Arc<FeedQueue>);

impl Feed {
    /// Appends the bytes from `write` to the hub's stream. Wakes the hub if it has read all earlier
    /// bytes.
    pub(crate) fn write(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self.0.lock();
        let was_empty = pending.bytes.is_empty();
        write(&mut pending.bytes);
        drop(pending);
        if was_empty {
            self.0.wake_fd.signal();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.wake_fd.signal();
    }
}

impl FeedQueue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Source {
    Log(Pin<Box<SseBody>>),
    Feed(Arc<FeedQueue>),
}

struct Client {
    stream: TcpStream,
    has_response: bool,
    is_writable: bool,
    /// Index in the hub's `log` of the next slice to write.
    piece: usize,
    /// Number of bytes of that slice already written.
    written: usize,
}

struct Hub {
    listener: TcpListener,
    source: Source,
    is_over: bool,
    wake_fd: Arc<WakeFd>,
    epoll: OwnedFd,
    log: Vec<Bytes>,
    clients: Vec<Client>,
}

impl Hub {
    fn new(listener: TcpListener, source: Source, wake_fd: Arc<WakeFd>) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("the system has epoll");
        listener
            .set_nonblocking(true)
            .expect("could not configure the socket");
        rustix::net::listen(&listener, BACKLOG).expect("could not set the backlog");
        let add = |source: &dyn std::os::fd::AsFd, name| {
            let data = epoll::EventData::new_u64(name);
            epoll::add(&epoll, source.as_fd(), data, epoll::EventFlags::IN)
                .expect("could not add to epoll");
        };
        add(&wake_fd.0, FEED);
        add(&listener, LISTENER);
        Self {
            listener,
            source,
            is_over: false,
            wake_fd,
            epoll,
            log: Vec::new(),
            clients: Vec::new(),
        }
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(1024);
        while !self.is_over {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)
                .expect("epoll failed to wait");
            for event in &events {
                match event.data.u64() {
                    FEED => {
                        let mut count = [0; 8];
                        rustix::io::read(&self.wake_fd.0, &mut count)
                            .expect("the eventfd has no signal");
                        self.take();
                        for number in 0..self.clients.len() {
                            self.flush(number);
                        }
                    }
                    LISTENER => self.accept(),
                    number => {
                        let number = usize::try_from(number).expect("the number is an index");
                        self.clients[number].is_writable = true;
                        self.respond(number);
                        self.flush(number);
                    }
                }
            }
        }
    }

    /// Moves the pending bytes from the source to `log`.
    fn take(&mut self) {
        let body = match &mut self.source {
            Source::Log(body) => body,
            Source::Feed(queue) => {
                let mut pending = queue.lock();
                self.is_over = pending.is_over;
                let bytes = std::mem::take(&mut pending.bytes);
                drop(pending);
                if !bytes.is_empty() {
                    self.log.push(Bytes::from(bytes));
                }
                return;
            }
        };
        let waker = Waker::from(Arc::clone(&self.wake_fd));
        let mut context = Context::from_waker(&waker);
        while let Poll::Ready(frame) = body.as_mut().poll_frame(&mut context) {
            let Some(Ok(frame)) = frame else {
                self.is_over = true;
                return;
            };
            self.log.extend(frame.into_data().ok());
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream
                .set_nonblocking(true)
                .expect("could not configure the socket");
            stream
                .set_nodelay(true)
                .expect("could not configure the socket");
            let data = epoll::EventData::new_u64(self.clients.len() as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &stream, data, flags).expect("could not add to epoll");
            self.clients.push(Client {
                stream,
                has_response: false,
                is_writable: true,
                piece: 0,
                written: 0,
            });
        }
    }

    /// Reads the request, assumed to arrive in one read, and sends a minimal response head.
    fn respond(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let mut request = [0; 1024];
        match client.stream.read(&mut request) {
            Ok(0) => client.has_response = false,
            Ok(_) => {
                let head = b"HTTP/1.1 200 OK\r\n\r\n";
                client
                    .stream
                    .write_all(head)
                    .expect("could not write the response head");
                client.has_response = true;
            }
            Err(_) => {}
        }
    }

    fn flush(&mut self, number: usize) {
        let client = &mut self.clients[number];
        while client.has_response && client.is_writable && client.piece < self.log.len() {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(SLICES);
            let pieces = &self.log[client.piece..];
            slices.extend(pieces.iter().take(SLICES).enumerate().map(|(at, piece)| {
                let from = if at == 0 { client.written } else { 0 };
                IoSlice::new(&piece[from..])
            }));
            match client.stream.write_vectored(&slices) {
                Ok(mut size) => {
                    size += client.written;
                    while let Some(piece) = self.log.get(client.piece).filter(|p| size >= p.len()) {
                        size -= piece.len();
                        client.piece += 1;
                    }
                    client.written = size;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.is_writable = false;
                }
                // The client has disconnected.
                Err(_) => client.has_response = false,
            }
        }
    }
}
