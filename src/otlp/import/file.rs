//! [`ImportedFile`]: reads a file, plain or gzip, as lines or as one document.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::{
    error::Error,
    otlp::import::{
        document::{DocumentReader, RejectedText},
        left_out::LeftOut,
    },
    span::EncodedEvent,
};

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The events of a trace file, ready to be dispatched to a log. `livespan open` uses this.
///
/// The form of a file is recognized by its content. Files may be compressed with gzip:
///
/// | form | imported data |
/// | --- | --- |
/// | livespan's events, a line each, or the JSON of `GET /traces/{traceId}` | everything |
/// | OTLP/JSON: one request, a list of them, or a line each, as a collector writes them | spans, log records |
/// | Tempo's JSON, and a response of its API | spans |
/// | Jaeger's JSON, and a response of its API of version 1 or 3 | spans, tags, logs, references, processes |
/// | Zipkin's JSON of version 2 | spans, tags, annotations |
///
/// Everything that is left out is counted, by reason. An invalid line is left out. A document that
/// spans many lines is read as a whole or rejected.
///
/// ```
/// use livespan::{LiveSpans, otlp::ImportedFile};
///
/// # let rt = tokio::runtime::Builder::new_current_thread().build()?;
/// # rt.block_on(async {
/// let zipkin = r#"[{"traceId":"a3ce929d0e0e4736","id":"1","name":"get","timestamp":1795347540000000,
///     "duration":2000,"localEndpoint":{"serviceName":"web"}}]"#;
/// let file = ImportedFile::read(zipkin.as_bytes())?;
/// assert_eq!((file.source(), file.left_out().count()), ("Zipkin", 0));
/// let live = LiveSpans::builder().build()?;
/// live.encoded_target().dispatch_all(file.events()).await?;
/// # live.shutdown()?;
/// # Ok::<(), livespan::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ImportedFile {
    events: Vec<EncodedEvent>,
    left_out: LeftOut,
    source: &'static str,
    lines: u64,
    first_problem: Option<String>,
}

impl ImportedFile {
    /// Upper bound on the size of a file after decompression, in bytes: 1 GiB. The same bound
    /// applies to the events of a file.
    pub const FILE_BYTES_MAX: u64 = 1 << 30;
    /// Upper bound on a line, and on a document that spans many lines, in bytes: 256 MiB.
    pub const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

    /// Reads a file to its end.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, exceeds a bound, or has no usable content. In the last case, the
    /// message names the first problem.
    pub fn read(input: impl Read) -> Result<Self, Error> {
        let limits = ImportLimits {
            file: Self::FILE_BYTES_MAX,
            document: Self::DOCUMENT_BYTES_MAX,
            events: Self::FILE_BYTES_MAX,
        };
        Self::read_within(input, limits)
    }

    pub(super) fn read_within(mut input: impl Read, limits: ImportLimits) -> Result<Self, Error> {
        let mut head = Vec::new();
        let failed = |error| Error::io("read the file", error);
        input
            .by_ref()
            .take(GZIP.len() as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let is_gzip = head == GZIP;
        let whole = Cursor::new(head).chain(input);
        let reader = FileReader {
            documents: DocumentReader::default(),
            limits,
            line: 0,
            rest: limits.file,
            first_problem: None,
        };
        if is_gzip {
            reader.read(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))))
        } else {
            reader.read(BufReader::new(whole))
        }
    }

    /// Returns the events in file order. Each process comes before its first span or log record.
    pub fn events(&self) -> &[EncodedEvent] {
        &self.events
    }

    /// Returns the reasons for which items were left out, each with the number of items, in file
    /// order.
    pub fn left_out(&self) -> impl Iterator<Item = (&str, u64)> {
        let shown = |(what, count): (&'static str, u64)| -> (&str, u64) { (what, count) };
        self.left_out.iter().map(shown)
    }

    /// Returns the program that wrote the file: `Tempo`, `Jaeger` or `Zipkin`, or an empty text for livespan's events
    /// and OTLP.
    pub fn source(&self) -> &str {
        self.source
    }

    /// Returns the number of lines, or 1 for a document.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns the error in the first line that was left out, with the line's number.
    pub fn first_problem(&self) -> Option<&str> {
        self.first_problem.as_deref()
    }
}

/// The bounds of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImportLimits {
    pub(super) file: u64,
    pub(super) document: u64,
    pub(super) events: u64,
}

/// Reads a file line by line, until the content turns out to be one document.
struct FileReader {
    documents: DocumentReader,
    limits: ImportLimits,
    /// The number of the current line.
    line: u64,
    /// The number of bytes that may still be read.
    rest: u64,
    first_problem: Option<String>,
}

impl FileReader {
    fn read(mut self, mut input: impl BufRead) -> Result<ImportedFile, Error> {
        let mut line = Vec::new();
        let mut is_first = true;
        while self.next_line(&mut input, &mut line)? {
            let text = text_of(&line);
            if text.as_ref().is_ok_and(|text| text.is_empty()) {
                continue;
            }
            if std::mem::take(&mut is_first) && text.as_ref().is_ok_and(|text| !is_whole(text)) {
                return self.read_document(input, line);
            }
            let read = text.and_then(|text| self.documents.read(text));
            if let Err(refused) = read {
                let problem = self.located(refused);
                self.documents.left_out().add(LeftOut::LINES, 1);
                self.first_problem.get_or_insert(problem);
            }
            self.check_events()?;
        }
        if is_first {
            return Err(Error::invalid("the file is empty"));
        }
        self.finish()
    }

    /// Reads a document that begins with this line.
    fn read_document(
        mut self,
        input: impl Read,
        mut document: Vec<u8>,
    ) -> Result<ImportedFile, Error> {
        let max = self.limits.document;
        let room = (max + 1).saturating_sub(document.len() as u64);
        let read = input.take(room).read_to_end(&mut document);
        read.map_err(read_error)?;
        if document.len() as u64 > max {
            return Err(Error::invalid(format!(
                "a JSON document of more than {max} bytes cannot be read at once; JSON lines can"
            )));
        }
        let read = text_of(&document).and_then(|text| self.documents.read(text));
        if let Err(refused) = read {
            let message = match refused {
                // The path in the message already names the place.
                RejectedText::Form(message) => message,
                syntax @ RejectedText::Syntax(..) => self.located(syntax),
            };
            return Err(Error::invalid(message));
        }
        self.check_events()?;
        self.line = 1;
        self.finish()
    }

    /// Reads the next line. Returns `false` at the end.
    fn next_line(&mut self, input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let max = self.limits.document.min(self.rest);
        let read = input.by_ref().take(max + 1).read_until(b'\n', line);
        let read = read.map_err(read_error)? as u64;
        if read > self.rest {
            let max = self.limits.file;
            return Err(Error::invalid(format!(
                "the file has more than {max} bytes"
            )));
        }
        if read > self.limits.document {
            let (number, max) = (self.line + 1, self.limits.document);
            return Err(Error::invalid(format!(
                "line {number} has more than {max} bytes"
            )));
        }
        self.rest -= read;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }

    fn check_events(&self) -> Result<(), Error> {
        let max = self.limits.events;
        if self.documents.bytes > max {
            return Err(Error::invalid(format!(
                "the events of the file have more than {max} bytes"
            )));
        }
        Ok(())
    }

    /// Returns an error message with the line of the error.
    fn located(&self, refused: RejectedText) -> String {
        match refused {
            RejectedText::Form(message) => format!("line {}: {message}", self.line),
            RejectedText::Syntax(line, fault) => {
                let line = self.line + (line as u64).saturating_sub(1);
                format!("line {line}: not JSON: {fault}")
            }
        }
    }

    fn finish(self) -> Result<ImportedFile, Error> {
        let (events, left_out, source) = self.documents.into_parts();
        match self.first_problem {
            // No part of the file was valid.
            Some(problem) if events.is_empty() => Err(Error::invalid(problem)),
            first_problem => Ok(ImportedFile {
                events,
                left_out,
                source,
                lines: self.line,
                first_problem,
            }),
        }
    }
}

fn read_error(error: io::Error) -> Error {
    Error::io("read the file", error)
}

fn text_of(bytes: &[u8]) -> Result<&str, RejectedText> {
    let text = std::str::from_utf8(bytes);
    let text =
        text.map_err(|error| RejectedText::Form(format!("is not text in UTF-8: {error}")))?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim())
}

/// Returns whether a line is a complete or a broken value, and not the first line of a document.
fn is_whole(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
        || line.starts_with('{') && line.ends_with('}')
}
