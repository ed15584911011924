//! The worker's side of the buffer. In each turn, the worker removes all records from the buffer. It handles those
//! below a cut in the order of their numbers, and leaves the others for the next turn. Only the worker thread uses this
//! module. It holds a shard's lock only for a pointer swap.

use crate::{
    ingest::buffer::{
        class::{ClassCounts, RecordClass},
        push::IngestBuffer,
        shard::{HEADER, Shard},
    },
    util::sync::atomic::Ordering,
};

/// The worker's shards, which it swaps with the buffer's, and the records of the current turn and the next one.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(super) spares: Vec<Shard>,
    pub(super) records: Vec<RecordRef>,
    pub(super) cut: u64,
}

impl Drain {
    pub(crate) fn new(buffer: &IngestBuffer) -> Self {
        let spare = |_| Shard::new(buffer.shard_bytes);
        // One more spare than there are shards: the last one holds the records left over for the next turn.
        let mut spares: Vec<Shard> = buffer.shards.iter().map(spare).collect();
        spares.push(Shard::default());
        Self {
            spares,
            records: Vec::new(),
            cut: 0,
        }
    }

    /// Creates a placeholder for the worker's drain while the real one is borrowed.
    pub(crate) fn empty() -> Self {
        Self {
            spares: Vec::new(),
            records: Vec::new(),
            cut: 0,
        }
    }

    /// Removes all records from the buffer. [`records_below_cut`](Self::records_below_cut) then returns those numbered
    /// below `cut`.
    pub(crate) fn take_records(&mut self, buffer: &IngestBuffer, cut: u64) {
        self.carry_over(self.cut);
        self.cut = cut;
        for (spare, shard) in self.spares.iter_mut().zip(buffer.shards.iter()) {
            spare.length = 0;
            spare.count = 0;
            std::mem::swap(spare, &mut *shard.0.lock());
        }
        // Incremented after the last swap. So a push that finds all shards full before that swap records the old
        // generation.
        buffer.drain_generation.fetch_add(1, Ordering::Release);
        self.records.clear();
        for (index, spare) in self.spares.iter().enumerate() {
            index_records(spare.used(), index, &mut self.records);
        }
        // Each shard is sorted already, and a stable sort detects sorted runs.
        self.records.sort_by_key(|record| record.number);
        buffer.room_freed.notify_waiters();
    }

    /// Returns the records below the cut, in order.
    pub(crate) fn records_below_cut(&self) -> impl Iterator<Item = (RecordClass, &[u8])> {
        let below_cut = self
            .records
            .iter()
            .take_while(|record| record.number < self.cut);
        below_cut.map(|record| (record.class, self.bytes(record, HEADER)))
    }

    /// Returns how many starts, ends and other records were drained, including those left for the next turn.
    pub(crate) fn counts(&self) -> ClassCounts {
        let mut counts = ClassCounts::default();
        for record in &self.records {
            counts.add(record.class, 1);
        }
        counts
    }

    /// Returns all internal records that were drained, including those left for the next turn.
    pub(crate) fn internal_records(&self) -> impl Iterator<Item = &[u8]> {
        let internal = self
            .records
            .iter()
            .filter(|record| record.class == RecordClass::Internal);
        internal.map(|record| self.bytes(record, HEADER))
    }

    /// Copies the records numbered `cut` or higher into the last spare, for the next turn.
    pub(super) fn carry_over(&mut self, cut: u64) {
        let mut rest = Vec::new();
        for record in self.records.iter().filter(|record| record.number >= cut) {
            rest.extend_from_slice(self.bytes(record, 0));
        }
        if let Some(last) = self.spares.last_mut() {
            last.length = rest.len();
            last.bytes = rest.into_boxed_slice();
        }
    }

    pub(super) fn bytes(&self, record: &RecordRef, skip: usize) -> &[u8] {
        let spare = self.spares.get(record.spare).map(Shard::used);
        spare
            .and_then(|bytes| bytes.get(record.start + skip..record.end))
            .unwrap_or_default()
    }
}

/// The location of one record within a [`Drain`].
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordRef {
    pub(super) number: u64,
    pub(super) class: RecordClass,
    pub(super) spare: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) fn index_records(bytes: &[u8], spare: usize, records: &mut Vec<RecordRef>) {
    let mut start = 0;
    while let Some((header, _)) = bytes
        .get(start..)
        .and_then(|rest| rest.split_first_chunk::<HEADER>())
    {
        let [l0, l1, l2, l3, class, number @ ..] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        records.push(RecordRef {
            number: u64::from_le_bytes(number),
            class: RecordClass::from_byte(class),
            spare,
            start,
            end: start + length,
        });
        start += length.max(HEADER);
    }
}
