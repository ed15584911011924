//! Our own listener. Without access control, it binds only loopback addresses. It bounds the number of connections. Its
//! tasks run with telemetry suppressed, so that they create no spans in the log.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use hyper_util::server::graceful::GracefulShutdown;
use opentelemetry::{Context, context::FutureExt as _};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    error::Error,
    http::{
        auth::host_check::is_loopback,
        connection::{self, Client, answer_and_close, suppressed, turned_on},
        router::LiveService,
        stream_guard::StreamServer,
    },
    live_spans::LiveSpans,
    log::waker::WakeGroup,
};

/// How long a shutdown waits while no client reads any of the remaining bytes.
const GRACE: Duration = Duration::from_secs(1);
/// A server ends this much earlier than the deadline of `LiveSpans::shutdown`, so that `shutdown`
/// sees its thread end.
const HEAD_START: Duration = Duration::from_millis(50);
/// Pause after a failed accept, such as when the process has no file descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Upper bound on the connections beyond the bound that get a response at the same time. Further
/// ones are only closed.
const REFUSALS_MAX: usize = 256;
/// The whole response to a connection beyond the bound. It is a stream that ends, because an
/// `EventSource` gives up after an error.
const OVERLOAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
    connection: close\r\n\r\nretry: 10000\n\nevent: end\ndata: {\"type\":\"end\",\"reason\":\"overload\"}\n\n";

/// A running server. It runs until [`shutdown`](Self::shutdown), [`LiveSpans::shutdown`] or the end of its runtime,
/// even if this handle is dropped.
#[derive(Clone)]
pub struct LiveServer {
    live: LiveSpans,
    address: SocketAddr,
    stop: Arc<watch::Sender<bool>>,
    stopped: watch::Receiver<bool>,
}

impl fmt::Debug for LiveServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl LiveServer {
    /// Address at which [`init`](fn@crate::init) and the examples serve by default. If its port is taken, a free one is
    /// bound instead, so that a second program starts as well.
    pub const DEFAULT_ADDRESS: &'static str = "127.0.0.1:4380";
    /// Port of [`DEFAULT_ADDRESS`](Self::DEFAULT_ADDRESS): 4380.
    pub const DEFAULT_PORT: u16 = 4380;
    /// Upper bound on the open connections: 16,384. A further connection gets a stream that ends at
    /// once with the reason `overload`.
    pub const CONNECTIONS_MAX: usize = 16_384;
    /// Upper bound on the connections that the kernel holds until the server accepts them: 4,096,
    /// or the system's limit (`net.core.somaxconn`). A client beyond it tries again after a second,
    /// then after two more, and so on.
    pub const BACKLOG_MAX: u16 = 4_096;
    /// Time that a client may take to send the first byte of a request, and then the rest of its
    /// head: 30 seconds each.
    pub const HEAD_TIMEOUT: Duration = connection::HEAD_TIMEOUT;
    /// Time after which a connection is closed if its client reads none of the pending bytes: 60
    /// seconds.
    pub const STALL_TIMEOUT: Duration = connection::STALL_TIMEOUT;
    /// Upper bound on the time that a shutdown waits for clients to read their last events and
    /// their `end`: 5 seconds.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

    /// Returns the bound address. Its port may differ from the requested one.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the dashboard's address, with a slash at the end. If the server is bound to all
    /// addresses, this is its loopback address, because browsers on some systems cannot open the
    /// address `0.0.0.0`.
    pub fn url(&self) -> String {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("http://{address}/")
    }

    /// Returns the dashboard's address as a [one-time link](LiveSpans::login_link). Print it only where the operator
    /// alone can read it.
    ///
    /// # Errors
    /// Returns an error if the system cannot provide random numbers.
    pub fn login_url(&self) -> Result<String, Error> {
        self.live.login_link(&self.url())
    }

    /// Waits until the server has stopped.
    pub async fn wait(&self) {
        turned_on(&mut self.stopped.clone()).await;
    }

    /// Stops accepting and ends the open connections. The server ends within two seconds after the clients have stopped
    /// reading, and at the latest after [`DRAIN_TIMEOUT`](Self::DRAIN_TIMEOUT). A stream sends its pending events, a
    /// `retry` that spreads the clients' reconnects, and `end` (`shutdown`). The log continues, and clients resume at
    /// its next server. The call itself does not wait.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }
}

impl IntoFuture for LiveServer {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Awaits the end of the server, as [`wait`](Self::wait) does.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl LiveSpans {
    /// Serves the routes and the dashboard. The address is bound when this returns. Port 0 selects
    /// any free port. [`DEFAULT_PORT`](LiveServer::DEFAULT_PORT) on a loopback address also selects
    /// a free port if that port is taken: [`url`](LiveServer::url) returns the real address.
    ///
    /// The server runs on the caller's runtime. While your program blocks that runtime, the page
    /// does not respond. To watch a program that hangs, use
    /// [`serve_in_background`](Self::serve_in_background).
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound. Also returns an error if it is not a
    /// loopback address and [`auth`](crate::LiveSpansBuilder::auth) was not called.
    pub async fn serve(&self, address: impl ToSocketAddrs) -> Result<LiveServer, Error> {
        let listener = self.bind(address).await?;
        let (server, acceptor) = self.acceptor(listener)?;
        tokio::spawn(acceptor.run().with_context(suppressed()));
        Ok(server)
    }

    /// Serves like [`serve`](Self::serve), but on a separate thread and runtime, so the page
    /// responds even while the program hangs. The caller needs no tokio runtime, but may be inside
    /// one.
    ///
    /// # Errors
    /// Returns the errors of [`serve`](Self::serve), and an error if the thread cannot be started.
    ///
    /// ```
    /// let live = livespan::LiveSpans::builder().build()?;
    /// let server = live.serve_in_background("127.0.0.1:0")?;
    /// assert!(server.url().starts_with("http://127.0.0.1:"));
    /// live.shutdown()?;
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn serve_in_background(&self, address: &str) -> Result<LiveServer, Error> {
        // The server's thread builds, runs and drops the runtime. The caller may be inside a
        // runtime, where blocking on another runtime, or dropping one, would panic.
        let (answer, answered) = mpsc::sync_channel(1);
        let (alive, finished) = mpsc::channel::<Infallible>();
        let live = self.clone();
        let address = address.to_owned();
        thread::Builder::new()
            .name("livespan-http".to_owned())
            .spawn(move || {
                let _alive = alive;
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                live.run_in_background(&address, &answer);
            })
            .map_err(|error| Error::io("start the server's thread", error))?;
        let server = answered
            .recv()
            .map_err(|error| Error::io("start the server", error))??;
        // The program may end once `shutdown` returns, so `shutdown` waits until viewers have their last events.
        self.before_shutdown_returns(move |deadline| {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            // Nothing is ever sent on this channel. The wait ends with the thread or at the
            // deadline.
            let _ended = finished.recv_timeout(left);
        });
        Ok(server)
    }

    fn run_in_background(
        &self,
        address: &str,
        answer: &mpsc::SyncSender<Result<LiveServer, Error>>,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                drop(answer.send(Err(Error::io("start a runtime for the server", error))));
                return;
            }
        };
        runtime.block_on(async {
            let listener = self.bind(address).await;
            match listener.and_then(|listener| self.acceptor(listener)) {
                Ok((server, acceptor)) => {
                    // The caller waits for this answer. If its thread is gone, the server runs nevertheless.
                    drop(answer.send(Ok(server)));
                    // As a task, because each wake-up of the future of `block_on` costs a system call.
                    drop(tokio::spawn(acceptor.run()).await);
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        });
    }

    async fn bind(&self, address: impl ToSocketAddrs) -> Result<TcpListener, Error> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
            .await
            .map_err(|error| Error::io("look up the address to serve on", error))?
            .collect();
        let open = addresses
            .iter()
            .find(|address| !is_loopback(&address.ip().to_string()));
        if let Some(open) = open.filter(|_| self.shared.access.auth.is_none()) {
            return Err(Error::invalid(format!(
                "{open} is not a loopback address: say who may read with .auth(..) on LiveSpans::builder(), such as \
                 Auth::token(..) or Auth::public()"
            )));
        }
        let bound = match TcpListener::bind(addresses.as_slice()).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_default(&addresses) => {
                let free = addresses.iter().map(|address| (address.ip(), 0).into());
                TcpListener::bind(free.collect::<Vec<SocketAddr>>().as_slice()).await
            }
            bound => bound,
        };
        if let Ok(listener) = &bound {
            connection::prepare_listener(listener, LiveServer::BACKLOG_MAX);
        }
        bound.map_err(|error| {
            let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            Error::io(format!("bind {}", shown.join(", ")), error)
        })
    }

    fn acceptor(&self, listener: TcpListener) -> Result<(LiveServer, Acceptor), Error> {
        let address = listener
            .local_addr()
            .map_err(|error| Error::io("read the bound address", error))?;
        let (stop, stopping) = watch::channel(false);
        let (done, stopped) = watch::channel(false);
        let server = LiveServer {
            live: self.clone(),
            address,
            stop: Arc::new(stop),
            stopped,
        };
        let stop = Arc::clone(&server.stop);
        let end_by = Arc::new(OnceLock::new());
        let limit = Arc::clone(&end_by);
        self.on_shutdown(move |deadline| {
            _ = limit.set(deadline);
            stop.send_replace(true);
        });
        let service = LiveService {
            live: self.clone(),
            mounted: false,
        };
        let room = Arc::new(Semaphore::new(LiveServer::CONNECTIONS_MAX));
        Ok((
            server,
            Acceptor {
                listener,
                service,
                stopping,
                done,
                end_by,
                room,
            },
        ))
    }
}

/// Returns whether these are loopback addresses with the default port. If that port is taken, a free one may replace it.
fn is_default(addresses: &[SocketAddr]) -> bool {
    addresses
        .iter()
        .all(|address| address.port() == LiveServer::DEFAULT_PORT && address.ip().is_loopback())
}

struct Acceptor {
    listener: TcpListener,
    service: LiveService,
    stopping: watch::Receiver<bool>,
    done: watch::Sender<bool>,
    /// The deadline of `LiveSpans::shutdown`, if that call stops the server.
    end_by: Arc<OnceLock<std::time::Instant>>,
    /// Permits for further connections.
    room: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self) {
        let graceful = GracefulShutdown::new();
        let sent = Arc::new(AtomicU64::new(0));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let server = StreamServer {
            stopping: self.stopping.clone(),
            readers: Arc::default(),
        };
        // The task ends when this set is dropped, after the connections.
        let mut waking = JoinSet::new();
        waking.spawn(wake_readers(Arc::clone(&server.readers)).with_context(suppressed()));
        let mut connections = JoinSet::new();
        let mut stopped = self.stopping.clone();
        let mut stopped = std::pin::pin!(turned_on(&mut stopped));
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, peer)) = accepted else {
                        // No file descriptor is left, or this client has already disconnected.
                        // Others may still connect.
                        tokio::select! {
                            () = tokio::time::sleep_until(Instant::now() + ACCEPT_REST) => continue,
                            () = &mut stopped => break,
                        }
                    };
                    if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                        let client = Client { stream, peer, server: server.clone() };
                        let connection = connection::serve(&self.service, (client, &sent), &graceful, permit);
                        connections.spawn(connection.with_context(suppressed()));
                    } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                        connections.spawn(refuse(stream, permit).with_context(suppressed()));
                    }
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = &mut stopped => break,
            }
        }
        drop(self.listener);
        // Connections that do not end in time are dropped with the set.
        let left = self
            .end_by
            .get()
            .map_or(LiveServer::DRAIN_TIMEOUT, |end_by| {
                end_by.saturating_duration_since(std::time::Instant::now() + HEAD_START)
            });
        finish(graceful, &sent, left.min(LiveServer::DRAIN_TIMEOUT)).await;
        connections.shutdown().await;
        self.done.send_replace(true);
    }
}

/// Wakes the readers of the server's streams, until it is dropped.
async fn wake_readers(readers: Arc<WakeGroup>) {
    poll_fn(|cx| readers.poll_wake(cx)).await;
}

/// Waits for the connections to end, for at most `time`. Stops waiting early when no client reads
/// any more.
async fn finish(graceful: GracefulShutdown, sent: &AtomicU64, time: Duration) {
    let end = Instant::now() + time;
    let mut ended = std::pin::pin!(graceful.shutdown());
    let mut before = sent.load(Ordering::Relaxed);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if timeout(GRACE.min(left), ended.as_mut()).await.is_ok() || left <= GRACE {
            return;
        }
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Answers a connection beyond the bound.
async fn refuse(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    answer_and_close(stream, OVERLOAD).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn exchange(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(30), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_backlog_accepts_clients_that_connect_at_the_same_time() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let allowed: u16 = allowed.trim().parse().unwrap_or(u16::MAX);
        let live = LiveSpans::builder().build().unwrap();
        let listener = live.bind("127.0.0.1:0").await.unwrap();
        // Nothing accepts here. Beyond the backlog, the kernel drops each connection attempt.
        let address = listener.local_addr().unwrap();
        let clients: Vec<std::net::TcpStream> = (0..allowed.min(400))
            .map(|_| {
                std::net::TcpStream::connect_timeout(&address, Duration::from_secs(30)).unwrap()
            })
            .collect();
        assert_eq!(clients.len(), usize::from(allowed.min(400)));
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_gets_a_stream_that_ends_as_overload() {
        let live = LiveSpans::builder().build().unwrap();
        let listener = live.bind("127.0.0.1:0").await.unwrap();
        let (server, mut acceptor) = live.acceptor(listener).unwrap();
        acceptor.room = Arc::new(Semaphore::new(1));
        let running = tokio::spawn(acceptor.run());
        let mut first = TcpStream::connect(server.local_addr()).await.unwrap();
        first
            .write_all(b"GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut begun = [0; 15];
        first.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
        for _ in 0..3 {
            assert_eq!(exchange(server.local_addr()).await.as_bytes(), OVERLOAD);
        }
        drop(first);
        // The permit becomes free when the server notices the disconnect.
        let admitted =
            async { while exchange(server.local_addr()).await.as_bytes() == OVERLOAD {} };
        timeout(Duration::from_secs(120), admitted).await.unwrap();
        server.shutdown();
        running.await.unwrap();
    }
}
