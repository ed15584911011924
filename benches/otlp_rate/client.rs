//! Minimal HTTP/1.1 clients: [`Connection`] sends requests one after another. [`Watcher`] reads a stream, and counts
//! the occurrences of a text.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use memchr::memmem;

use crate::measure::PATIENCE;

pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_nodelay(true)
            .expect("could not configure the socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("could not configure the socket");
        Self(stream)
    }

    /// Sends a request. Returns the response's status.
    pub(crate) fn post(&mut self, content_type: &str, body: &[u8]) -> u16 {
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).expect("the server reads");
        self.0.write_all(body).expect("the server reads");
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        loop {
            let read = self.0.read(&mut part).expect("the server answers");
            assert!(read > 0, "the connection ended");
            answer.extend_from_slice(&part[..read]);
            if let Some(status) = whole_answer(&answer) {
                return status;
            }
        }
    }
}

/// Returns the status once the response is complete.
fn whole_answer(answer: &[u8]) -> Option<u16> {
    let end = memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).expect("the response head is not UTF-8");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().ok())?
    });
    let is_whole = answer.len() >= end + 4 + length.expect("the response has no content-length");
    is_whole.then(|| {
        head.split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("the response has no status")
    })
}

/// Reads a stream on a thread of its own, and counts a text in it.
pub(crate) struct Watcher(Arc<AtomicU64>);

impl Watcher {
    pub(crate) fn start(address: SocketAddr, path: &str, text: &'static [u8]) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("the server reads");
        let mut first = [0; 1];
        stream.read_exact(&mut first).expect("the server answers");
        thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            // Bytes kept from the previous read, which may hold the beginning of the text.
            let mut kept = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer[kept..]) {
                let filled = kept + read;
                let found = memmem::find_iter(&buffer[..filled], text).count();
                counted.fetch_add(
                    u64::try_from(found).expect("the count does not fit"),
                    Ordering::Relaxed,
                );
                kept = (text.len() - 1).min(filled);
                buffer.copy_within(filled - kept..filled, 0);
            }
        });
        Self(count)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
