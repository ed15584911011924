//! The fields of a `tracing` event, encoded as in a record. They are formatted before a shard of the ingest buffer is
//! locked, because formatting calls the host's code. This code runs on the host's threads.

use std::fmt::{self, Write as _};

use crate::{
    ingest::write_buf::WriteBuf,
    span::{
        json::clip,
        record::{
            layout::{RECORD_BYTES_MAX, TEXT_BYTES_MAX, TRUNCATED, pair_head},
            log::{layout::MESSAGE_IS_BODY, write::LogHead},
            writer::RecordWriter,
        },
    },
};

/// The fields of a `tracing` event, encoded as in a record. The memory can be reused.
#[derive(Debug, Default)]
pub(crate) struct LogPairs {
    bytes: Vec<u8>,
    count: u32,
    is_truncated: bool,
}

impl LogPairs {
    /// Creates an empty value that reuses this memory.
    pub(crate) fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self {
            bytes,
            count: 0,
            is_truncated: false,
        }
    }

    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        if let Some(key) = self.begin(key) {
            let (text, _) = clip(text, TEXT_BYTES_MAX);
            self.head(b's', key, text.len());
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    pub(crate) fn int(&mut self, key: &str, value: i64) {
        self.number(b'i', key, value.to_le_bytes());
    }

    pub(crate) fn double(&mut self, key: &str, value: f64) {
        self.number(b'd', key, value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        if let Some(key) = self.begin(key) {
            self.head(b'v', key, 0);
            self.bytes.extend_from_slice(&[b'b', u8::from(value)]);
        }
    }

    /// Adds a value as its own `Debug` or `Display` writes it. The text is cut while it is written, so only the
    /// beginning of a huge value is formatted.
    pub(crate) fn formatted(&mut self, key: &str, value: fmt::Arguments<'_>) {
        if let Some(text) = value.as_str() {
            return self.text(key, text);
        }
        let Some(key) = self.begin(key) else {
            return;
        };
        let head = self.bytes.len();
        self.head(b's', key, 0);
        let start = self.bytes.len();
        let mut text = ClippedText {
            out: &mut self.bytes,
            room: TEXT_BYTES_MAX,
        };
        // This fails when the text is cut, or when the value cannot be formatted. The text written so far is kept.
        let _is_whole = text.write_fmt(value).is_ok();
        let length = self.bytes.len() - start;
        if let Some(place) = self.bytes.get_mut(head..head + 8) {
            place.copy_from_slice(&head_bytes(b's', key, length));
        }
    }

    /// Begins a pair. Returns its key as it is written, or `None` if the record is full.
    fn begin<'k>(&mut self, key: &'k str) -> Option<&'k str> {
        if self.bytes.len() > RECORD_BYTES_MAX {
            self.is_truncated = true;
            return None;
        }
        self.count += 1;
        Some(clip(key, TEXT_BYTES_MAX).0)
    }

    fn head(&mut self, kind: u8, key: &str, text: usize) {
        self.bytes.extend_from_slice(&head_bytes(kind, key, text));
        self.bytes.extend_from_slice(key.as_bytes());
    }

    fn number(&mut self, kind: u8, key: &str, value: [u8; 8]) {
        if let Some(key) = self.begin(key) {
            self.bytes.extend_from_slice(&pair_head(kind, key, ""));
            self.bytes.extend_from_slice(&value);
            self.bytes.extend_from_slice(key.as_bytes());
        }
    }
}

fn head_bytes(kind: u8, key: &str, text: usize) -> [u8; 8] {
    (u64::from(kind) | (key.len() as u64) << 8 | (text as u64) << 32).to_le_bytes()
}

/// Accepts a text up to a bound, and refuses the rest.
struct ClippedText<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
}

impl fmt::Write for ClippedText<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let (kept, is_cut) = clip(s, self.room);
        self.out.extend_from_slice(kept.as_bytes());
        if is_cut {
            self.room = 0;
            return Err(fmt::Error);
        }
        self.room -= kept.len();
        Ok(())
    }
}

/// Writes a log record whose body and attributes are in `pairs`.
pub(crate) fn write_log_pairs(
    buf: &mut WriteBuf<'_>,
    head: &LogHead<'_>,
    pairs: &LogPairs,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let place = writer.buf.reserve_array()?;
    let has = head.write_texts(&mut writer)?;
    writer.buf.put_slice(&pairs.bytes)?;
    let flags = if pairs.is_truncated { TRUNCATED } else { 0 };
    head.write(place, flags, has | MESSAGE_IS_BODY, pairs.count);
    *buf = writer.buf;
    Some(())
}
