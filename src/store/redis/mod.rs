//! A log in Redis that many processes write and serve.
//!
//! All keys are `{prefix}:…`, and every change is one call of one script, so an invariant of the keys holds between any two
//! calls. [`client::scripts`] lists the scripts, `lua/common.lua` the keys. [`store`] joins the parts. Three kinds of
//! threads use the server, each with connections of its own: the log's thread ([`append`], [`takeover`]), those that wait
//! for other processes' events ([`blocking_read`]), and the store's, which run queries ([`read_pool`], [`queries`]) and send
//! heartbeats ([`heartbeat`]). What they learn of the log is in [`known_state`].
//!
//! How the store keeps its promises:
//!
//! - *Numbers.* The head is a field of the log's hash. A batch takes the numbers after it, in the script that writes it.
//! - *Exactly once.* The script remembers the number of each writer's last batch, and answers a repetition as before.
//! - *Epochs.* Each call that writes sends the newest sequence that its process knows, and its epoch. If the log in Redis
//!   cannot have issued that sequence, it has lost events. It then accepts no append for 1.25 heartbeats, in which every
//!   living process reports what it knows, and continues above all of that under a new epoch.
//! - *Retention* is exact: each event carries the bytes before it and its time, so a binary search finds the first event to
//!   keep. Only then are the streams' own keys and the kept opening events touched.
//! - *Foreign trimming.* A register holds the first entry of each stream's own key. A key that begins elsewhere is
//!   incomplete; the log itself is then read and filtered, until retention has passed the damage.
//! - *Pins.* A pin is in the set of its writer. A takeover moves it to the claims of the process that takes it over, in the
//!   same script, so no two processes get it; claims of a process that dies are handed out again.

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
