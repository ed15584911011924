//! Replays a whole log from SQLite to a late client over HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, routing::get};
use http::{HeaderMap, Response, Uri};
use livespan::{SqliteEventStore, SseEvent, SseTarget, sse::Subscribe};

/// The event type of the log. Nothing is dispatched, because the events are already in the file.
struct Stored;

impl SseEvent for Stored {
    fn name(&self) -> &'static str {
        "stored"
    }

    fn encode(&self, _out: &mut Vec<u8>) {}
}

async fn all(
    State(target): State<SseTarget<Stored>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    target
        .respond(Subscribe::all(), &headers, &uri)
        .map(Body::new)
}

/// Opens the log, and serves it from a thread of its own until the process ends.
pub(crate) fn serve(store: SqliteEventStore) -> SocketAddr {
    let target = SseTarget::<Stored>::builder()
        .store(store)
        .build()
        .expect("the file opens");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            sender
                .send(address)
                .expect("the caller waits for the address");
            let app = Router::new().route("/", get(all)).with_state(target);
            axum::serve(listener, app).await.expect("the server runs");
        });
    });
    receiver.recv().expect("the server starts")
}

/// Reads until the event with this number has arrived. Returns the time taken.
pub(crate) fn read(address: SocketAddr, last: u64) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the server reads");
    let end = format!("-{last}\n");
    let mut bytes = vec![0; 1 << 18];
    let mut kept = 0;
    loop {
        let got = stream.read(&mut bytes[kept..]).expect("the server writes");
        assert!(got > 0, "the stream ended early");
        let all = kept + got;
        if bytes[..all]
            .windows(end.len())
            .rev()
            .take(512)
            .any(|window| window == end.as_bytes())
        {
            return begun.elapsed();
        }
        // These bytes are long enough to hold the beginning of an id that is split between two
        // reads.
        let tail = all.min(512);
        bytes.copy_within(all - tail..all, 0);
        kept = tail;
    }
}
