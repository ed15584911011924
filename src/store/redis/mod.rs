//! A log in Redis that many processes write and serve.
//!
//! All keys are `{prefix}:…`. Every change is one call of one script, so the invariants of the keys hold between any
//! two calls. [`client::scripts`] lists the scripts, `lua/common.lua` the keys. [`store`] joins the parts. The log's
//! thread writes ([`append`], [`takeover`]), and so does any thread that keeps a stream; they share one connection.
//! Threads that wait for other processes' events ([`blocking_read`]), that run queries ([`read_pool`], [`queries`]) and
//! that send heartbeats ([`heartbeat`]) have connections of their own. [`known_state`] holds the state of the log that
//! they have received.
//!
//! How the store keeps its promises:
//!
//! - *Sequences.* The head is a field of the log's hash. A batch gets the sequences after it, in the script that
//!   writes the batch.
//! - *Exactly once.* The script remembers the number of each writer's last batch. It answers a repeated batch as it did
//!   the first time.
//! - *Epochs.* Each call that writes sends the newest sequence that its process knows, with its epoch. If the log in
//!   Redis cannot have issued that sequence, the log has lost events. The log then accepts no append for 1.25
//!   heartbeats, so that every living process can report its newest sequence. It continues above all of these
//!   sequences, under a new epoch.
//! - *Retention* is exact: each event stores its time and the number of bytes before it, so a binary search finds the
//!   first event to keep. Only after that search are the streams' own keys and the kept opening events changed.
//! - *Foreign trimming.* A register holds the first entry of each stream's own key. A key with another first entry is
//!   incomplete. The log itself is then read and filtered, until retention has removed the damaged part.
//! - *Pins.* A pin names an event that is still open, by its token and stream. It is in the set of its writer. A
//!   takeover moves the pin to the claims of the process that takes it over, in one script, so no two processes get it.
//!   The claims of a process that dies are taken over again.

pub(crate) mod append;
pub(crate) mod blocking_read;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod heartbeat;
pub(crate) mod heartbeat_timer;
pub(crate) mod known_state;
pub(crate) mod open_events;
pub(crate) mod queries;
pub(crate) mod read_pool;
pub(crate) mod store;
pub(crate) mod takeover;

pub use crate::store::redis::{config::RedisEventStoreBuilder, store::RedisEventStore};
