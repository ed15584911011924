//! Writes the values of the SDK's log records, which may hold bytes, maps and lists of several kinds. It runs on the
//! host's threads, so it never allocates, never waits and never panics. The output is bounded in bytes and depth.

use opentelemetry::{Key, logs::AnyValue};

use crate::span::{
    json::clip,
    record::{
        layout::{
            ARRAY_BYTES_MAX, ARRAY_CUT, RECORD_BYTES_MAX, TEXT_BYTES_MAX, TRUNCATED, pair_head,
        },
        writer::RecordWriter,
    },
};

/// Upper bound on the nesting of maps and lists. Deeper values are left out, and the map or list that has them is
/// marked as cut.
const DEPTH_MAX: usize = 16;

impl RecordWriter<'_> {
    /// Writes attributes up to the record's bound. Returns the number written, or `None` if the buffer is full.
    pub(in crate::span) fn any_pairs<'v>(
        &mut self,
        pairs: impl Iterator<Item = &'v (Key, AnyValue)>,
    ) -> Option<u32> {
        let mut count = 0;
        for (key, value) in pairs {
            if self.written() > RECORD_BYTES_MAX {
                self.truncated = TRUNCATED;
                break;
            }
            let (key, _) = clip(key.as_str(), TEXT_BYTES_MAX);
            *self.buf.reserve_array()? = pair_head(b'v', key, "");
            self.buf.put_slice(key.as_bytes())?;
            self.any_value(value)?;
            count += 1;
        }
        Some(count)
    }

    pub(in crate::span) fn any_value(&mut self, value: &AnyValue) -> Option<()> {
        self.any_value_at(value, 0)
    }

    fn any_value_at(&mut self, value: &AnyValue, depth: usize) -> Option<()> {
        match value {
            AnyValue::Int(value) => self.number(b'i', value.to_le_bytes()),
            AnyValue::Double(value) => self.number(b'd', value.to_le_bytes()),
            AnyValue::String(value) => self.string(value.as_str()),
            AnyValue::Boolean(value) => self.bool(*value),
            AnyValue::Bytes(bytes) => {
                let bytes = bytes.get(..ARRAY_BYTES_MAX).unwrap_or(bytes);
                let length = u32::try_from(bytes.len()).ok()?;
                self.buf.put_slice(b"x")?;
                self.buf.put_slice(&length.to_le_bytes())?;
                self.buf.put_slice(bytes)
            }
            AnyValue::ListAny(values) => self.items(b'a', depth, values.iter(), |writer, value| {
                writer.any_value_at(value, depth + 1)
            }),
            AnyValue::Map(pairs) => {
                self.items(b'm', depth, pairs.iter(), |writer, (key, value)| {
                    writer.text(key.as_str())?;
                    writer.any_value_at(value, depth + 1)
                })
            }
            // A later SDK may add a kind of value. It is written as an empty text.
            _ => {
                self.truncated = TRUNCATED;
                self.string("")
            }
        }
    }

    /// Writes the count, whose top bit means that items were cut off, then the items.
    fn items<T>(
        &mut self,
        kind: u8,
        depth: usize,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Self, T) -> Option<()>,
    ) -> Option<()> {
        self.buf.put_slice(&[kind])?;
        let start = self.written();
        let slot = self.buf.reserve_array()?;
        let mut count = 0_u32;
        for item in items {
            if depth >= DEPTH_MAX || self.written() - start > ARRAY_BYTES_MAX {
                count |= ARRAY_CUT;
                break;
            }
            write(self, item)?;
            count += 1;
        }
        *slot = count.to_le_bytes();
        Some(())
    }
}
