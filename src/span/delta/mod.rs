//! Delta ends: the end of a span repeats neither the attributes nor the scope of its start.
//!
//! What it does: `on_start` sends name, attributes and scope to the worker. `on_end` would send them again, which costs
//! the host's thread a second copy. So the worker remembers the record of the start. Besides new fields, `on_end` sends
//! only the ids, the name and the links.
//!
//! The protocol:
//!
//! 1. Before a start gets its sequence number in the ingest buffer, `on_start` takes a slot by a compare-and-swap
//!    ([`slots`]). The slot's index comes from the span's ids, so the end finds it without a map. A tag made from
//!    ids, parent and kind distinguishes open spans with the same ids.
//! 2. The start's record carries a flag. It tells the worker to put the record into its own cache, under the same
//!    index.
//! 3. `on_end` finds the slot by the ids, writes a delta [`end`], and frees the slot *after* the delta has got its
//!    sequence number.
//! 4. The worker removes the start from its cache and joins it with the delta.
//!
//! Invariant: while a slot is taken, no other start is remembered in it. The worker reads records in the order of
//! their sequence numbers, so it reads the delta before the next start that takes the slot.
//! `tests/loom/start_slots.rs` checks this.
//!
//! A span gets a complete end if other spans hold its slots, or if its start was too large, had too many attributes
//! or was refused by the buffer. It also gets one if the SDK's limits dropped attributes, or if another open span has
//! the same ids, parent and kind. If the worker misses a start, the end is counted as dropped and the span ends as
//! lost. Nothing here waits on the host's threads, and only the first use of the large table allocates.
//!
//! The benchmark that justifies it: `cargo bench -p livespan-benches --bench span_instructions`, the rows of ends.

pub(crate) mod end;
pub(crate) mod slots;
