//! Delta ends: the end of a span repeats no field of its start.
//!
//! What it does: `on_start` sends name, attributes and scope to the worker. `on_end` would send them again, which costs
//! the host's thread a second copy. So the worker remembers the record of the start, and `on_end` sends only what is
//! new.
//!
//! The protocol:
//!
//! 1. Before a start draws its number in the ingest buffer, `on_start` takes a slot by a compare-and-swap ([`slots`]).
//!    The slot's index comes from the span's ids, so the end finds it without a map. A tag made from ids, parent and
//!    kind distinguishes open spans with the same ids.
//! 2. The start's record carries a flag. It tells the worker to put the record into its own cache, under the same
//!    index.
//! 3. `on_end` finds the slot by the ids, writes a delta [`end`], and frees the slot *after* the delta has drawn its
//!    number.
//! 4. The worker removes the start from its cache and joins both.
//!
//! Invariant: while a slot is taken, no other start is remembered in it. The worker reads records in the order of their
//! numbers, so it meets the delta before the next start that takes the slot. `tests/loom/start_slots.rs` checks this.
//!
//! A span gets a complete end if its slots are taken, if its start was too large, or if another open span has the same
//! ids, parent and kind. If the worker misses a start, the end is counted as dropped and the span ends as lost. Nothing
//! here waits or allocates on the host's threads.
//!
//! The benchmark that justifies it: `cargo bench --bench span_instructions`, the rows of ends.

pub(crate) mod end;
pub(crate) mod slots;
