//! The bounded buffer between the host's threads and the worker: the hot path of every span.
//!
//! Records are stored as bytes in a few [`shard`]s and numbered by one counter. A [`push`] holds one uncontended lock
//! for the time of a copy. It never waits and never allocates. It wakes the worker only if the worker sleeps until this
//! number is reached, or if the shard is more than half full ([`wake`]). If the thread's own shard is busy or full, the
//! push tries the others ([`probe`]). If none has space, the record is dropped and counted ([`overflow`]). The worker
//! swaps all shards for empty ones ([`drain`]). A caller may wait until everything before its call is stored
//! ([`flush`]), or for the id of its own event ([`acks`]).
//!
//! All atomic read-modify-writes (shard lock, number) happen before the copy. A read-modify-write after it would drain
//! the CPU's store buffer first, which costs about 20 % of `on_start`.
//!
//! Invariant: a record's number is drawn under its shard's lock. So if the worker reads the counter as `cut` and then
//! swaps every shard, it has every record below `cut`. Sorted by number, they are in the exact order in which the
//! host's threads observed them. The other records wait until the worker swaps the shards again.

mod acks;
mod class;
mod drain;
mod flush;
mod overflow;
mod probe;
mod push;
mod shard;
mod wake;

#[cfg(test)]
mod tests;

pub(crate) use self::class::{DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_EVENTS};
pub(crate) use self::{
    class::{Ack, ClassCounts, PushError, RecordClass},
    drain::Drain,
    push::{IngestBuffer, TurnResult},
    wake::{BATCH_RECORDS, GATHER_TIME, TurnPace},
};
