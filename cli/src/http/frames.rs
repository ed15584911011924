//! Reads the frames of an SSE stream as they arrive, with a limit on each wait.

use std::{str, time::Duration};

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

/// The longest time without a byte: three times the interval of the stream's pings.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Upper bound on one line, and on the data of a frame with several `data` lines, in bytes: 1 MiB.
/// An event's JSON is one line of at most 256 KiB.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// One frame: an event, or a position alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
}

/// The reason why a stream has no further frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The connection ended, properly or not.
    Closed,
    /// No byte arrived for too long, not even a ping.
    Silent,
    /// The response is not an SSE stream.
    Malformed,
}

/// The frames of a response.
#[derive(Debug)]
pub(crate) struct Frames {
    body: Incoming,
    parser: Parser,
}

impl Frames {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            parser: Parser::default(),
        }
    }

    /// Returns the next frame if it has already arrived.
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>, StreamEnd> {
        loop {
            if let Some(frame) = self.parser.next()? {
                return Ok(Some(frame));
            }
            match self.body.frame().now_or_never() {
                Some(Some(Ok(chunk))) => {
                    if let Ok(data) = chunk.into_data() {
                        self.parser.push(&data);
                    }
                }
                Some(Some(Err(_)) | None) => return Err(StreamEnd::Closed),
                None => return Ok(None),
            }
        }
    }

    /// Waits for the next frame. Dropping the future loses no bytes.
    pub(crate) async fn next(&mut self) -> Result<Frame, StreamEnd> {
        loop {
            if let Some(frame) = self.parser.next()? {
                return Ok(frame);
            }
            match timeout(SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(chunk))) => {
                    if let Ok(data) = chunk.into_data() {
                        self.parser.push(&data);
                    }
                }
                Ok(Some(Err(_)) | None) => return Err(StreamEnd::Closed),
                Err(_elapsed) => return Err(StreamEnd::Silent),
            }
        }
    }
}

/// The received bytes, and the frame that is being parsed.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    /// The number of parsed bytes at the beginning.
    read: usize,
    frame: Frame,
}

impl Parser {
    fn push(&mut self, data: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(data);
    }

    fn next(&mut self) -> Result<Option<Frame>, StreamEnd> {
        while let Some(rest) = self.bytes.get(self.read..) {
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                let is_too_large = rest.len() > FRAME_BYTES_MAX;
                return if is_too_large {
                    Err(StreamEnd::Malformed)
                } else {
                    Ok(None)
                };
            };
            let line = rest.get(..length).unwrap_or_default();
            let line = str::from_utf8(line).map_err(|_malformed| StreamEnd::Malformed)?;
            self.read += length + 1;
            if line.is_empty() {
                let frame = std::mem::take(&mut self.frame);
                if frame != Frame::default() {
                    return Ok(Some(frame));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.frame.event),
                "id" => self.frame.id = Some(value.to_owned()),
                "data" => self.frame.add_data(value)?,
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Frame {
    fn add_data(&mut self, value: &str) -> Result<(), StreamEnd> {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
                if data.len() > FRAME_BYTES_MAX {
                    return Err(StreamEnd::Malformed);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(event: &str, id: Option<&str>, data: Option<&str>) -> Frame {
        Frame {
            event: event.to_owned(),
            id: id.map(str::to_owned),
            data: data.map(str::to_owned),
        }
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let text = "retry: 1000\n\nevent: started\nid: a-1\ndata: {\"x\":\ndata: 1}\n\n: comment\n\nid: a-2\n\n\
            event: ping\ndata: {}\n\nevent: cut";
        let expected = [
            frame("started", Some("a-1"), Some("{\"x\":\n1}")),
            frame("", Some("a-2"), None),
            frame("ping", None, Some("{}")),
        ];
        for cut in 0..=text.len() {
            let mut parser = Parser::default();
            let mut frames = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                parser.push(part.as_bytes());
                while let Some(frame) = parser.next().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, expected, "{cut}");
        }
    }

    #[test]
    fn a_response_that_is_not_a_stream_is_given_up() {
        for bytes in [vec![b'x'; FRAME_BYTES_MAX + 1], b"data: \xff\n".to_vec()] {
            let mut parser = Parser::default();
            parser.push(&bytes);
            assert_eq!(parser.next(), Err(StreamEnd::Malformed));
        }
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(FRAME_BYTES_MAX - 10));
        parser.push(line.as_bytes());
        assert_eq!(parser.next(), Ok(None));
        parser.push(line.as_bytes());
        assert_eq!(parser.next(), Err(StreamEnd::Malformed));
    }
}
