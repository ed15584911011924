//! Our own listener: loopback unless told otherwise, bounded in connections, head time and stalled writes. Its tasks
//! run with telemetry suppressed, so that the observer never observes itself.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    thread,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use opentelemetry::{Context, context::FutureExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, timeout},
};

use crate::{
    error::Error,
    http::{guard::is_loopback, service::LiveService},
    spans::live::LiveSpans,
};

/// Where [`init`](crate::init) and the examples serve unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:4380";
/// Connections that are open at once; further ones get a stream that ends at once as `overload`.
pub const CONNECTIONS_MAX: usize = 16_384;
/// How long a client may take to send the head of a request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what waits for it before it is closed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long open connections may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that a connection buffers: what a stalled client costs, beside one block.
const CONNECTION_BUFFER: usize = 64 * 1024;
/// The whole answer to a connection beyond the bound, in the one way that an `EventSource` survives.
const OVERLOAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
    connection: close\r\n\r\nretry: 10000\n\nevent: end\ndata: {\"type\":\"end\",\"reason\":\"overload\"}\n\n";

/// A running server: it goes on until [`shutdown`](Self::shutdown) or [`LiveSpans::shutdown`], also when this handle is
/// dropped.
#[derive(Clone)]
pub struct LiveServer {
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
    /// Returns the address that is really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the dashboard's address, with a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits until the server has stopped.
    pub async fn wait(&self) {
        turned_on(&mut self.stopped.clone()).await;
    }

    /// Stops accepting and ends open connections, within a second. It does not wait.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }
}

impl LiveSpans {
    /// Serves the routes and the dashboard. When it returns, the address is bound. Port 0 takes any free port.
    ///
    /// # Errors
    /// When the address cannot be bound, or it is not a loopback address and
    /// [`auth`](crate::LiveSpansBuilder::auth) was not called.
    pub async fn serve(&self, address: impl ToSocketAddrs) -> Result<LiveServer, Error> {
        let listener = self.bind(address).await?;
        let (server, acceptor) = self.acceptor(listener)?;
        tokio::spawn(acceptor.run().with_context(suppressed()));
        Ok(server)
    }

    /// Serves on a thread and a runtime of its own, for programs without tokio.
    ///
    /// # Errors
    /// As [`serve`](Self::serve), and when the thread cannot be started.
    ///
    /// ```
    /// let live = livespan::LiveSpans::builder().build()?;
    /// let server = live.serve_in_background("127.0.0.1:0")?;
    /// assert!(server.url().starts_with("http://127.0.0.1:"));
    /// live.shutdown()?;
    /// # Ok::<(), livespan::Error>(())
    /// ```
    pub fn serve_in_background(&self, address: &str) -> Result<LiveServer, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("start a runtime for the server", error))?;
        // Bound on the server's own thread: the caller may be inside a runtime, where blocking on another one panics.
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let live = self.clone();
        let address = address.to_owned();
        thread::Builder::new()
            .name("livespan-http".to_owned())
            .spawn(move || {
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                runtime.block_on(async move {
                    let listener = live.bind(address.as_str()).await;
                    match listener.and_then(|listener| live.acceptor(listener)) {
                        Ok((server, acceptor)) => {
                            // The caller waits below, unless it is gone: then the server is still wanted.
                            drop(answer.send(Ok(server)));
                            acceptor.run().await;
                        }
                        Err(error) => drop(answer.send(Err(error))),
                    }
                });
            })
            .map_err(|error| Error::io("start the server's thread", error))?;
        answered
            .recv()
            .map_err(|error| Error::io("start the server", error))?
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
                 Auth::public()"
            )));
        }
        TcpListener::bind(addresses.as_slice())
            .await
            .map_err(|error| {
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
            address,
            stop: Arc::new(stop),
            stopped,
        };
        let stop = Arc::clone(&server.stop);
        self.on_shutdown(move || {
            stop.send_replace(true);
        });
        let service = LiveService {
            live: self.clone(),
            mounted: false,
        };
        Ok((
            server,
            Acceptor {
                listener,
                service,
                stopping,
                done,
            },
        ))
    }
}

/// Completes when the flag is set, or nobody is left to set it.
async fn turned_on(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|on| *on).await);
}

fn suppressed() -> Context {
    Context::new().with_telemetry_suppressed()
}

struct Acceptor {
    listener: TcpListener,
    service: LiveService,
    stopping: watch::Receiver<bool>,
    done: watch::Sender<bool>,
}

impl Acceptor {
    async fn run(mut self) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let connection = connection(&self.service, stream, &graceful, &room);
                        connections.spawn(connection.with_context(suppressed()));
                    }
                    // Out of file descriptors, or a client that is gone already: others may still come.
                    Err(_) => tokio::task::yield_now().await,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = turned_on(&mut self.stopping) => break,
            }
        }
        drop(self.listener);
        // What does not end in time ends with the set.
        drop(timeout(GRACE, graceful.shutdown()).await);
        connections.shutdown().await;
        self.done.send_replace(true);
    }
}

/// One connection, from its first byte to its last.
fn connection(
    service: &LiveService,
    mut stream: TcpStream,
    graceful: &GracefulShutdown,
    room: &Arc<Semaphore>,
) -> impl Future<Output = ()> + Send + use<> {
    let permit = Arc::clone(room).try_acquire_owned();
    // Without it, small frames would wait for the acknowledgement of earlier ones.
    let prompt = stream.set_nodelay(true);
    let service = TowerToHyperService::new(service.clone());
    let watcher = graceful.watcher();
    async move {
        let (Ok(_permit), Ok(())) = (permit, prompt) else {
            drop(timeout(HEAD_TIMEOUT, stream.write_all(OVERLOAD)).await);
            return;
        };
        let service =
            hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let service = service.clone();
                async move {
                    hyper::service::Service::call(&service, request.map(axum::body::Body::new))
                        .await
                }
            });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(CONNECTION_BUFFER)
            .serve_connection(TokioIo::new(StallLimit::new(stream)), service);
        // A connection that fails is a client that went away.
        drop(watcher.watch(connection).await);
    }
}

/// A socket whose writes fail when the peer takes nothing for [`STALL_TIMEOUT`].
struct StallLimit {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallLimit {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    /// Passes progress on; without any, fails when the time is up.
    fn limit<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + STALL_TIMEOUT));
        ready!(self.stalled.get_or_insert_with(deadline).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for StallLimit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallLimit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
