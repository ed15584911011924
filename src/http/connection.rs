//! One connection of our listener, from its first byte to its last. It bounds the time for a
//! request's head and the time of a stalled write. It runs on a task of its own, with telemetry
//! suppressed.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

#[cfg(not(feature = "otlp-grpc"))]
use hyper::server::conn::http1;
#[cfg(feature = "otlp-grpc")]
use hyper_util::server::conn::auto;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use opentelemetry::Context;
#[cfg(feature = "otlp-grpc")]
use opentelemetry::context::FutureExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, Sleep, timeout},
};

use crate::http::{
    auth::host_check::Peer, request_line, router::LiveService, stream_guard::StreamServer,
};

/// The values of [`LiveServer::HEAD_TIMEOUT`](crate::LiveServer::HEAD_TIMEOUT) and
/// [`LiveServer::STALL_TIMEOUT`](crate::LiveServer::STALL_TIMEOUT).
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection beyond the bound stays open, so that its client reads the response before
/// the socket is closed.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that a connection buffers: the cost of a stalled client, in addition to one block.
const CONNECTION_BUFFER: usize = 64 * 1024;
/// Upper bound on the concurrent requests of one HTTP/2 connection.
#[cfg(feature = "otlp-grpc")]
const STREAMS_MAX: u32 = 128;
/// Upper bound on the headers of one HTTP/2 request, in bytes.
#[cfg(feature = "otlp-grpc")]
const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// The client of a connection, and the server's state that the client's streams use.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) server: StreamServer,
}

pub(super) fn serve(
    service: &LiveService,
    (client, sent): (Client, &Arc<AtomicU64>),
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send + use<> {
    let Client {
        stream,
        peer,
        server,
    } = client;
    // This fails if the client has disconnected. After any other failure, the connection works but may be slower.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    drop(set_options(&SockRef::from(&stream)));
    let service = TowerToHyperService::new(service.clone());
    let watcher = graceful.watcher();
    let sent = Arc::clone(sent);
    async move {
        let _permit = permit;
        let mut stopped = server.stopping.clone();
        let refusal = tokio::select! {
            biased;
            begun = timeout(HEAD_TIMEOUT, request_line::refusal(&stream)) => begun,
            // The client has not sent a request yet.
            () = turned_on(&mut stopped) => return,
        };
        match refusal {
            Ok(Ok(None)) => {}
            // Boxed: otherwise the task of every connection would reserve memory for this response's buffer.
            Ok(Ok(Some(answer))) => return Box::pin(answer_and_close(stream, &answer)).await,
            // The client has disconnected, or sends nothing.
            Ok(Err(_)) | Err(_) => return,
        }
        let service =
            hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let service = service.clone();
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(Peer(peer.ip()));
                request.extensions_mut().insert(server.clone());
                async move { hyper::service::Service::call(&service, request).await }
            });
        let io = TokioIo::new(StallLimit::new(stream, sent));
        #[cfg(feature = "otlp-grpc")]
        let builder = auto_builder();
        #[cfg(feature = "otlp-grpc")]
        let connection = builder.serve_connection(io, service);
        #[cfg(not(feature = "otlp-grpc"))]
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(CONNECTION_BUFFER)
            .serve_connection(io, service);
        // An error means that the client disconnected, stalled or sent an invalid request.
        drop(watcher.watch(connection).await);
    }
}

/// Serves HTTP/1, and HTTP/2 to a client that begins with the HTTP/2 preface, which gRPC needs.
#[cfg(feature = "otlp-grpc")]
fn auto_builder() -> auto::Builder<SuppressedExecutor> {
    let mut builder = auto::Builder::new(SuppressedExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(CONNECTION_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(STALL_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    builder
}

/// Spawns the requests of an HTTP/2 connection with telemetry suppressed. They end with the
/// connection.
#[cfg(feature = "otlp-grpc")]
#[derive(Clone, Copy, Debug)]
struct SuppressedExecutor;

#[cfg(feature = "otlp-grpc")]
impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for SuppressedExecutor {
    fn execute(&self, fut: F) {
        tokio::spawn(fut.with_context(suppressed()));
    }
}

/// Sends a fixed response to any request. It reads the request first: if a socket is closed with
/// unread bytes, the kernel resets the connection, and the response may be lost.
pub(super) async fn answer_and_close(mut stream: TcpStream, answer: &[u8]) {
    let exchange = async {
        let mut request = [0; 4096];
        // One read suffices for most requests. The rest of a larger one is ignored.
        if stream.read(&mut request).await? > 0 {
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            while stream.read(&mut request).await? > 0 {}
        }
        io::Result::Ok(())
    };
    drop(timeout(REFUSAL_TIMEOUT, exchange).await);
}

/// Prepares a listener for the connections that [`serve`] serves. On Linux, they inherit its options, which saves four
/// system calls for each connection.
pub(super) fn prepare_listener(listener: &TcpListener, backlog: u16) {
    // Without the options, connections work, but some of them more slowly.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    drop(set_options(&SockRef::from(listener)));
    // tokio uses a backlog of 128, which is too small if all clients reconnect at once. If this call fails, tokio's
    // backlog stays.
    drop(SockRef::from(listener).listen(backlog.into()));
}

/// Sets the options of a connection.
fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    // With Nagle's algorithm, small frames would wait for the acknowledgement of earlier ones.
    socket.set_tcp_nodelay(true)?;
    // Makes the kernel close a connection whose peer has vanished. Otherwise the kernel would buffer pings and
    // retransmit for a quarter of an hour before it gave up (`tcp(7)`: `TCP_USER_TIMEOUT`, `tcp_retries2`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(STALL_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(STALL_TIMEOUT))
}

/// A socket whose writes fail when the peer reads nothing for [`STALL_TIMEOUT`].
struct StallLimit {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Number of writes on all connections of the server.
    sent: Arc<AtomicU64>,
}

impl StallLimit {
    fn new(stream: TcpStream, sent: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            stalled: None,
            sent,
        }
    }

    /// Passes a finished write on. A write that stays pending for [`STALL_TIMEOUT`] fails.
    fn limit<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            self.sent.fetch_add(1, Ordering::Relaxed);
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

/// Completes when the flag is set, or when its sender is dropped.
pub(super) async fn turned_on(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|on| *on).await);
}

pub(super) fn suppressed() -> Context {
    Context::new().with_telemetry_suppressed()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::live_spans::LiveSpans;

    /// An idle stream costs little more than this task.
    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let live = LiveSpans::builder().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (connecting, accepted) = tokio::join!(connecting, listener.accept());
        let (stream, peer) = accepted.unwrap();
        let (_stop, stopping) = watch::channel(false);
        let client = Client {
            stream,
            peer,
            server: StreamServer {
                stopping,
                readers: Arc::default(),
            },
        };
        let service = LiveService {
            live,
            mounted: false,
        };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let task = serve(&service, (client, &sent), &GracefulShutdown::new(), permit);
        let bytes = size_of_val(&task);
        assert!(bytes <= 3_584, "{bytes} bytes");
        drop((task, connecting));
    }

    #[tokio::test]
    async fn the_system_closes_connections_whose_peers_are_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare_listener(&listener, 128);
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (stream, _) = accepted.unwrap();
        let socket = SockRef::from(&stream);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        set_options(&socket).unwrap();
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), STALL_TIMEOUT);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(STALL_TIMEOUT));
        drop(client);
    }
}
