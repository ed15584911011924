//! Replays a whole log from SQLite to a late client over HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use livespan::{SqliteEventStore, SseEvent, SseTarget};

use crate::app;

/// The event type of the log. Nothing is dispatched, because the events are already in the file.
struct Stored;

impl SseEvent for Stored {
    fn name(&self) -> &'static str {
        "stored"
    }

    fn encode(&self, _out: &mut Vec<u8>) {}
}

/// Opens the log, and serves it from a thread of its own until the process ends.
pub(crate) fn serve(store: SqliteEventStore) -> SocketAddr {
    let target = SseTarget::<Stored>::builder()
        .store(store)
        .build()
        .expect("the file opens");
    app::serve_log(target)
}

/// Reads until the event with this number has arrived. Returns the time taken.
pub(crate) fn read(address: SocketAddr, last: u64) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
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
        // The last bytes are kept, because an id may be split between two reads.
        let tail = all.min(512);
        bytes.copy_within(all - tail..all, 0);
        kept = tail;
    }
}
