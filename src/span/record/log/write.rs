//! Writes log records. It runs on the host's threads: it must never allocate, wait, panic or call the host's code.
//! A function that writes into the buffer returns `None` when the buffer is full.

#[cfg(feature = "logs")]
use opentelemetry_sdk::logs::SdkLogRecord;

#[cfg(feature = "logs")]
use crate::span::record::log::layout::HAS_BODY;
use crate::{
    ingest::write_buf::WriteBuf,
    span::record::{
        layout::{LOG, put, put_halves},
        log::layout::{HAS_EVENT_NAME, HAS_SCOPE, HAS_SEVERITY_TEXT, HAS_TARGET, LOG_HEAD},
        writer::RecordWriter,
    },
    util::time::Timestamp,
};

/// The fields of a log record without body and attributes. An empty text stands for a missing text, and an id of zeros
/// for a missing id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogHead<'a> {
    pub(crate) source: u32,
    pub(crate) severity: u8,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) time: Timestamp,
    pub(crate) observed: Option<Timestamp>,
    pub(crate) target: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) event_name: &'a str,
    pub(crate) severity_text: &'a str,
}

impl LogHead<'_> {
    /// Returns the name of an event. It is empty if the program set no name: `tracing` then names the event after its
    /// source location, as in `event src/main.rs:7`.
    pub(crate) fn given_name(name: &str) -> &str {
        // The line number has few digits, so they are skipped from the end: a search for the colon would take longer.
        let is_default = name.starts_with("event ") && {
            let mut rest = name.as_bytes();
            while let [before @ .., b'0'..=b'9'] = rest {
                rest = before;
            }
            rest.ends_with(b":")
        };
        if is_default { "" } else { name }
    }

    pub(super) fn write_texts(&self, writer: &mut RecordWriter<'_>) -> Option<u8> {
        let mut has = 0;
        for (flag, text) in [
            (HAS_TARGET, self.target),
            (HAS_SCOPE, self.scope),
            (HAS_EVENT_NAME, self.event_name),
            (HAS_SEVERITY_TEXT, self.severity_text),
        ] {
            if !text.is_empty() {
                writer.text(text)?;
                has |= flag;
            }
        }
        Some(has)
    }

    pub(super) fn write(&self, head: &mut [u8; LOG_HEAD], flags: u8, has: u8, attributes: u32) {
        let observed = self.observed.map_or(0, Timestamp::nanos);
        let mut rest = WriteBuf::new(head);
        put(&mut rest, [LOG, flags, has, self.severity]);
        put(&mut rest, self.source.to_le_bytes());
        put_halves(&mut rest, self.trace_id);
        put(&mut rest, self.span_id);
        put(&mut rest, self.time.nanos().to_le_bytes());
        put(&mut rest, observed.to_le_bytes());
        put(&mut rest, attributes.to_le_bytes());
    }
}

/// Writes a log record of the SDK.
#[cfg(feature = "logs")]
pub(crate) fn write_log(
    buf: &mut WriteBuf<'_>,
    head: &LogHead<'_>,
    log: &SdkLogRecord,
) -> Option<()> {
    let mut writer = RecordWriter::new(std::mem::take(buf));
    let place = writer.buf.reserve_array()?;
    let mut has = head.write_texts(&mut writer)?;
    if let Some(body) = log.body() {
        writer.any_value(body)?;
        has |= HAS_BODY;
    }
    let attributes = writer.any_pairs(log.attributes_iter())?;
    head.write(place, writer.truncated, has, attributes);
    *buf = writer.buf;
    Some(())
}
