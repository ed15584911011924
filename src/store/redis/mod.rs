//! A log in Redis that many processes write and serve.
//!
//! All keys are `{prefix}:…`, and every change is one call of one script, so whatever is true of the keys is true
//! between any two calls: [`script`] has the list, `lua/common.lua` the names. [`store`] joins the parts. Three kinds of
//! threads use the server, each with connections of its own: the log's ([`append`], [`tend`]), those that wait for others'
//! events ([`wait`]), and the store's, which read ([`desk`], [`page`]) and beat ([`beat`], [`pulse`]). What they learn of
//! the log is in [`view`]. [`link`] is a connection, [`reply`] reads answers, [`fault`] says what went wrong.
//!
//! How the promises are kept:
//!
//! - *Numbers.* The head is a field of the log's own hash; a batch takes the numbers after it in the script that writes it.
//! - *Once.* The script remembers the number of each writer's last batch, and answers a repetition with what it answered
//!   before.
//! - *Lives.* Each call that writes says the newest sequence that its process knows, and in which epoch. When the log in
//!   Redis cannot have given that, it has lost events: it takes no append for a heartbeat and a quarter, in which every
//!   living process says what it knows, and goes on above all of that under a new epoch.
//! - *Trimming* is exact: each event carries the bytes before it and its time, so the first one to keep is found by
//!   halving. Only then are streams' own keys and kept openings touched.
//! - *Others' trimming.* A register says where each stream's own key begins. A key that does not begin there is
//!   incomplete; the log itself is then read and sifted, until retention has passed the damage.
//! - *Pins.* A pin is in the set of its writer. Being handed out moves it to the claims of the one who asked, in the
//!   same script, so no two are handed it; claims of one that dies are handed out again.

pub(crate) mod append;
pub(crate) mod blocking_read;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod heartbeat;
pub(crate) mod heartbeat_timer;
pub(crate) mod known_state;
pub(crate) mod open_events;
pub(crate) mod queries;
pub(crate) mod read_pool;
pub(crate) mod reply;
pub(crate) mod scripts;
pub(crate) mod store;
pub(crate) mod takeover;

pub use crate::store::redis::{config::RedisEventStoreBuilder, store::RedisEventStore};
