//! What changed in open spans and has not been told yet: attributes, name, status, events, links, what they wait for.
//!
//! What it does: a thread of the host notes each change in the [`UpdateSlot`] of its span and queues the slot once. The
//! worker takes what has gathered, at most [`UPDATE_INTERVAL`] apart for each span, and tells it as one `updated`
//! event. So a loop that sets an attribute a million times costs a lock and an assignment each time, and the log a few
//! events a second.
//!
//! The protocol:
//!
//! 1. The host's thread locks the slot, changes what is pending, and unlocks. If the slot was not queued, it puts it
//!    into the [`UpdateQueue`], then draws a number of the ingest buffer, which keeps the worker from falling asleep.
//! 2. The worker takes the queue *before* it reads the buffer's counter, and tells the changes *after* the records up
//!    to that counter. So the start of such a span is always encoded before its changes.
//! 3. At the span's end its own thread takes what is pending, pushes it as a record, and closes the slot. Both the worker
//!    and the end take everything under the slot's lock, so no change is told after its span's end, and none twice.
//!
//! Locks are held for a swap or an assignment. A host thread that finds one taken tries again a bounded number of times;
//! then the change counts as dropped.

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
    slot::{SlotIds, UpdateSlot},
};

use std::time::Duration;

/// The shortest time between two `updated` events of one span: 8 a second, so that with the one before its end a span has
/// fewer than 10.
pub(crate) const UPDATE_INTERVAL: Duration = Duration::from_millis(125);
