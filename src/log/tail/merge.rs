//! Merges the small blocks at the end of the tail, because many small batches would otherwise leave many small blocks.
//! It runs on the thread that appends. It merges outside the state's lock, so that readers wait only briefly.

use std::sync::Arc;

use crate::{
    log::{
        block::{BLOCK_BYTES_MAX, Block, BlockBuilder, Slice},
        tail::Tail,
    },
    util::{
        hash::Map,
        sync::{read, write},
    },
};

/// Number of small blocks at the end of the tail at which they are merged.
pub(super) const RUN_BLOCKS_MAX: usize = 256;

/// Blocks are merged only if their ages differ by at most this fraction of the age that retention allows.
pub(super) const MERGED_AGE_DIVISOR: u32 = 16;

impl Tail {
    /// Merges the small blocks at the end if there are [`RUN_BLOCKS_MAX`] of them, or if they would not fit into one
    /// block together with the next block, of `size` bytes. If their ages differ too much, they stay, and the next
    /// block begins a new run. A reader that holds one of the old blocks can still use it.
    pub(super) fn merge_run_before(&self, size: usize) {
        let (run, front_evicted) = {
            let state = read(&self.state);
            if state.run < RUN_BLOCKS_MAX && state.run_bytes + size <= BLOCK_BYTES_MAX {
                return;
            }
            let from = state.blocks.len() - state.run;
            let run: Vec<Arc<Block>> = state.blocks.range(from..).map(Arc::clone).collect();
            (run, if from == 0 { state.front_evicted } else { 0 })
        };
        let merged = if self.may_merge(&run) {
            merge(&run, front_evicted)
        } else {
            None
        };
        let mut state = write(&self.state);
        if let Some(merged) = merged {
            let keep = state.blocks.len() - run.len();
            if keep == 0 {
                state.front_evicted = 0;
                if let Some(front) = run.first() {
                    // The merged block lacks the events already evicted from the front block, so carried ones are
                    // copied out.
                    state.carried.detach_from(front);
                }
            }
            state.blocks.truncate(keep);
            state.blocks.push_back(Arc::new(merged));
        }
        state.run = 0;
        state.run_bytes = 0;
    }

    /// Returns whether there are at least two blocks and their ages are close enough.
    pub(super) fn may_merge(&self, run: &[Arc<Block>]) -> bool {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return false;
        };
        let spread = last.created().saturating_duration_since(first.created());
        run.len() > 1 && spread <= self.retention.age_max() / MERGED_AGE_DIVISOR
    }
}

pub(super) fn merge(run: &[Arc<Block>], front_evicted: usize) -> Option<Block> {
    let bytes = run.iter().map(|block| block.size()).sum();
    let events = run.iter().map(|block| block.len()).sum();
    let mut builder = BlockBuilder::with_capacity(bytes, events);
    let mut streams_by_slot = Map::default();
    for (index, block) in run.iter().enumerate() {
        let from = if index == 0 { front_evicted } else { 0 };
        builder.push_slice(
            &Slice {
                block: Arc::clone(block),
                range: from..block.len(),
            },
            &mut streams_by_slot,
        );
    }
    // The merged block gets the newest time. So merging keeps an event longer, by at most a sixteenth of the allowed
    // age.
    Some(builder.build(run.last()?.created()))
}
