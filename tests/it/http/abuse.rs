//! Clients that misbehave. Their cost is bounded, and other clients do not notice them.

use std::time::Duration;

use livespan::{LiveServer, LiveSpans, Retention, SpanEvent};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::app::{App, put, span, trace};

// The paused clock advances only when no task can run, so these tests need no time limits of their
// own.

#[tokio::test(start_paused = true)]
async fn a_head_that_is_never_finished_is_closed() {
    let app = App::start().await;
    for head in ["", "GET /sse HTTP/1.1\r\nhost: loc"] {
        let begun = Instant::now();
        let mut connection = app.raw(head).await;
        let mut answer = Vec::new();
        drop(connection.read_to_end(&mut answer).await);
        assert_eq!(String::from_utf8(answer).unwrap(), "");
        assert!(
            begun.elapsed() < LiveServer::HEAD_TIMEOUT * 2,
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let app = App::start().await;
    let begun = Instant::now();
    let mut connection = app
        .raw("GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    drop(connection.read_to_end(&mut answer).await);
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    assert!(
        begun.elapsed() < LiveServer::HEAD_TIMEOUT * 2,
        "{:?}",
        begun.elapsed()
    );
}

/// A client with tiny receive buffers that reads nothing.
async fn stalled(app: &App) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(app.server.local_addr()).await.unwrap();
    connection
        .write_all(b"GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    connection
}

#[tokio::test]
async fn a_client_that_never_reads_costs_no_memory_and_nobody_else_waits() {
    let retention = Retention::default().events(5000).bytes(4 * 1024 * 1024);
    let app = App::serve(LiveSpans::builder().retention(retention).build().unwrap()).await;
    let _stalled = [stalled(&app).await, stalled(&app).await];
    let mut stream = app.stream("/sse").await;
    super::app::until(|| app.live.status().subscribers == 3).await;
    let mut last = 0;
    let mut gaps = 0;
    for chunk in 0..200 {
        let spans = (0..500).map(|number| 1 + chunk * 500 + number);
        put(
            &app.live,
            spans.map(|number| SpanEvent::log(trace(1), span(number), "INFO", "x".repeat(100))),
        );
        let head = app.live.target().head().sequence().get();
        while last < head {
            let frame = stream.next().await.unwrap();
            match frame.event.as_str() {
                "gap" => gaps += 1,
                "log" => last = frame.sequence(),
                _ => {}
            }
        }
        let status = app.live.status();
        assert!(
            status.retained_events <= 5000 && status.retained_bytes <= 4 * 1024 * 1024,
            "{status:?}"
        );
    }
    assert_eq!((last, gaps), (100_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_client_reads_nothing_is_closed() {
    let app = App::start().await;
    for chunk in 0..40 {
        let spans = (0..500).map(|number| 1 + chunk * 500 + number);
        put(
            &app.live,
            spans.map(|number| SpanEvent::log(trace(1), span(number), "INFO", "x".repeat(1000))),
        );
    }
    let begun = Instant::now();
    let connection = stalled(&app).await;
    super::app::until(|| app.live.status().subscribers == 1).await;
    // No task can run, so the clock advances to the server's own limit.
    while app.live.status().subscribers > 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        assert!(
            begun.elapsed() < LiveServer::STALL_TIMEOUT * 2,
            "{:?}",
            begun.elapsed()
        );
    }
    assert!(
        begun.elapsed() >= LiveServer::STALL_TIMEOUT,
        "{:?}",
        begun.elapsed()
    );
    drop(connection);
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused_and_others_are_served() {
    let app = App::start().await;
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1} hello tls\r\n\r\n",
    ] {
        let answer = app.raw_answer(garbage).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{garbage:?}: {answer}"
        );
    }
    let huge = format!(
        "GET /status HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(1_000_000)
    );
    let mut connection = app.raw("").await;
    drop(connection.write_all(huge.as_bytes()).await);
    let mut answer = Vec::new();
    drop(connection.read_to_end(&mut answer).await);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(app.get("/status").await.status(), 200);
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_no_harm() {
    let app = App::start().await;
    let request = "POST /traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\nx";
    let mut connection = app.raw(request).await;
    let mut answer = vec![0; 64];
    connection.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 405"));
    assert_eq!(app.get("/status").await.status(), 200);
}
