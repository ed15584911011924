//! Pending changes of open spans, which readers do not have yet: attributes, name, status, events, links, and the
//! operation that the span waits for.
//!
//! What it does: a thread of the host notes each change in the [`UpdateSlot`] of its span and queues the slot once. The
//! worker encodes the gathered changes as one `updated` event, at most once in each [`UPDATE_INTERVAL`] for each span.
//! So a loop that sets an attribute a million times costs a lock and an assignment each time, but the log gets only a
//! few events a second.
//!
//! The protocol:
//!
//! 1. The host's thread locks the slot, adds the change, and unlocks. If the slot was not queued, the thread puts it
//!    into the [`UpdateQueue`]. It then draws a record number from the ingest buffer's counter, so that the worker does
//!    not fall asleep before it reads the queue.
//! 2. The worker empties the queue *before* it reads the buffer's counter, and encodes the changes *after* the records
//!    up to that counter. So the start of a span is always encoded before its changes.
//! 3. At the span's end, the ending thread takes the pending changes, pushes them as a record, and closes the slot.
//!    Both the worker and the ending thread take all changes under the slot's lock. So no change is reported after its
//!    span's end, or twice.
//!
//! Locks are held for a swap or an assignment. A host thread that finds a lock taken tries again a bounded number of
//! times. After that, a change whose slot stays locked is counted as dropped. If no list of the queue is free, the slot
//! is queued at the next change of its span. A span that ends while its slot stays locked closes the slot and queues
//! it: the worker counts the pending changes as dropped, and reports none of them.

mod changes;
#[cfg(feature = "tracing")]
mod poll_counters;
mod queue;
mod slot;

#[cfg(feature = "tracing")]
pub(crate) use self::poll_counters::PollCounters;
pub(crate) use self::{
    changes::{Await, Awaiting, Changes, TaskState, assign, is_same_key},
    queue::{UpdateQueue, ids_of},
    slot::{NoteResult, SlotIds, UpdateSlot},
};

use std::time::Duration;

/// The shortest time between two `updated` events of one span: at most 8 a second. With the last one before its end, a
/// span has fewer than 10 a second.
pub(crate) const UPDATE_INTERVAL: Duration = Duration::from_millis(125);
