//! An event stream over HTTP/1.1 and a real socket: the request, the response head, its chunks and its frames.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Buffer space for one read, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// Upper bound on a response head and on a frame, in bytes. Valid ones are much shorter.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// The fields of one frame. An absent field is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame<'a> {
    pub(crate) event: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// The server's response.
pub(crate) enum Opened {
    Stream(Stream),
    /// Status 204: no event will follow.
    NoContent,
}

enum Chunk {
    Size,
    Data(usize),
    /// The line end after a chunk.
    Tail,
    /// The final, empty chunk was read.
    Last,
}

/// An open stream. It holds at most the bytes of one read and an incomplete frame.
pub(crate) struct Stream {
    socket: TcpStream,
    raw: Vec<u8>,
    chunk: Chunk,
    text: Vec<u8>,
    at: usize,
    pub(crate) bytes: u64,
}

impl Stream {
    /// Requests a stream, after `last_id` if there is one.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        last_id: Option<&str>,
    ) -> io::Result<Opened> {
        let mut socket = TcpStream::connect(address).await?;
        let resume = last_id.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n{resume}\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut raw = Vec::with_capacity(READ_BYTES);
        let end = loop {
            if let Some(end) = memchr::memmem::find(&raw, b"\r\n\r\n") {
                break end + 4;
            }
            if raw.len() > PIECE_BYTES_MAX || socket.read_buf(&mut raw).await? == 0 {
                return Err(broken("an incomplete response head"));
            }
        };
        let head = String::from_utf8_lossy(raw.get(..end).unwrap_or_default()).to_lowercase();
        if head.starts_with("http/1.1 204") {
            return Ok(Opened::NoContent);
        }
        let is_chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
        if !head.starts_with("http/1.1 200") || !is_chunked {
            return Err(broken(&format!("an unexpected response head: {head:?}")));
        }
        raw.drain(..end);
        let mut stream = Self {
            socket,
            raw,
            chunk: Chunk::Size,
            text: Vec::new(),
            at: 0,
            bytes: 0,
        };
        stream.decode()?;
        Ok(Opened::Stream(stream))
    }

    /// Reads once. Returns `false` at the end of the response. A dropped future loses no bytes.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        if matches!(self.chunk, Chunk::Last) {
            return Ok(false);
        }
        self.raw.reserve(READ_BYTES.saturating_sub(self.raw.len()));
        let read = self.socket.read_buf(&mut self.raw).await?;
        if read == 0 {
            return Err(broken("the connection was closed within the response"));
        }
        self.bytes += read as u64;
        self.text.drain(..self.at);
        self.at = 0;
        if self.text.len() > PIECE_BYTES_MAX {
            return Err(broken("a frame longer than 1 MiB"));
        }
        self.decode()?;
        Ok(true)
    }

    /// Decodes the chunks and appends their content to the text.
    fn decode(&mut self) -> io::Result<()> {
        let mut rest = self.raw.as_slice();
        loop {
            match self.chunk {
                Chunk::Size => {
                    let Some(end) = memchr::memmem::find(rest, b"\r\n") else {
                        break;
                    };
                    let size = std::str::from_utf8(&rest[..end]).ok();
                    let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                    let size = size.ok_or_else(|| broken("a chunk whose size is not a number"))?;
                    rest = &rest[end + 2..];
                    self.chunk = if size == 0 {
                        Chunk::Last
                    } else {
                        Chunk::Data(size)
                    };
                }
                Chunk::Data(left) => {
                    let now = left.min(rest.len());
                    self.text.extend_from_slice(&rest[..now]);
                    rest = &rest[now..];
                    if now < left {
                        self.chunk = Chunk::Data(left - now);
                        break;
                    }
                    self.chunk = Chunk::Tail;
                }
                Chunk::Tail => {
                    if rest.len() < 2 {
                        break;
                    }
                    if !rest.starts_with(b"\r\n") {
                        return Err(broken("a chunk that is longer than its size"));
                    }
                    rest = &rest[2..];
                    self.chunk = Chunk::Size;
                }
                Chunk::Last => break,
            }
        }
        let taken = self.raw.len() - rest.len();
        self.raw.drain(..taken);
        Ok(())
    }

    /// Returns the next complete frame, or an error if it has an invalid line.
    pub(crate) fn next_frame(&mut self) -> Option<Result<Frame<'_>, String>> {
        let text = self.text.get(self.at..)?;
        let end = memchr::memmem::find(text, b"\n\n")?;
        self.at += end + 2;
        Some(frame(&text[..end]))
    }
}

fn frame(text: &[u8]) -> Result<Frame<'_>, String> {
    let mut frame = Frame::default();
    for line in text.split(|byte| *byte == b'\n') {
        let colon = memchr::memmem::find(line, b": ").unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.get(2..).unwrap_or_default();
        match field {
            b"event" => frame.event = value,
            b"id" => frame.id = value,
            b"data" => frame.data = value,
            b"retry" => {}
            _ => {
                return Err(format!(
                    "an invalid line: {:?}",
                    String::from_utf8_lossy(line)
                ));
            }
        }
    }
    Ok(frame)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
