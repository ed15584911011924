//! Reads only the outline of a start, which is enough to find a fitting start template. No text or value is decoded
//! before that. It runs on the worker thread.

use crate::{
    span::{
        json::start_template::{ScalarValue, StartIds},
        record::{
            layout::{
                HAS_SCOPE, HAS_STATE, HAS_VERSION, IN_LARGE_TABLE, PARENT_REMOTE, REMEMBERED,
                START, UNSAMPLED, slot_of,
            },
            read::RecordReader,
        },
    },
    util::time::Timestamp,
};

/// The outline of an ordinary span's start: its head, and its texts and pairs as raw bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartOutline<'a> {
    pub(crate) source: u32,
    /// The slot in which the worker must remember the start for its end.
    pub(crate) slot: Option<usize>,
    pub(crate) ids: StartIds,
    /// The flags that starts of one template share, and the kind.
    pub(crate) traits: [u8; 3],
    /// Scope, version and name, as raw bytes of the record.
    pub(crate) texts: &'a [u8],
    pub(crate) attributes: u32,
    pairs: &'a [u8],
}

impl<'a> StartOutline<'a> {
    /// Returns `None` for other records, and for starts with fields that a template cannot have.
    #[inline]
    pub(crate) fn of(record: &'a [u8]) -> Option<Self> {
        let mut reader = RecordReader { rest: record };
        let [tag, flags, has, kind] = reader.array()?;
        let is_ordinary = tag == START
            && flags & !(PARENT_REMOTE | UNSAMPLED | REMEMBERED) == 0
            && has & HAS_STATE == 0
            && record.len() <= OUTLINE_BYTES_MAX;
        if !is_ordinary {
            return None;
        }
        let source = reader.u32()?;
        let counts = reader.counts()?;
        let trace_id = reader.array()?;
        let span_id = reader.array()?;
        let parent = reader.array()?;
        let start = Timestamp::from_nanos(reader.u64()?);
        if counts.links() > 0 || reader.u32()? > 0 {
            return None;
        }
        let behind_head = reader.rest;
        for _ in 0..1 + (has & HAS_SCOPE).min(1) + (has & HAS_VERSION).min(1) {
            let length = reader.u32()?;
            reader.bytes(length)?;
        }
        let pairs = reader.rest;
        Some(Self {
            source,
            slot: slot_of(flags, has, trace_id, span_id),
            ids: StartIds {
                trace_id,
                span_id,
                parent: (parent != [0; 8]).then_some(parent),
                start,
            },
            traits: [flags & !REMEMBERED, has & !IN_LARGE_TABLE, kind],
            texts: behind_head.get(..behind_head.len() - pairs.len())?,
            attributes: counts.attributes(),
            pairs,
        })
    }

    /// Returns the attributes, up to the first whose value is not a scalar.
    #[inline]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'a [u8], ScalarValue<'a>)> + use<'a> {
        let mut reader = RecordReader { rest: self.pairs };
        std::iter::from_fn(move || reader.plain_pair())
    }
}

/// The largest record for which an outline is made, in bytes.
const OUTLINE_BYTES_MAX: usize = 2048;
