//! Mounts the files that the modules know as `crate::util`.

#[path = "../../src/util/block_on.rs"]
pub(crate) mod block_on;
#[path = "../../src/util/hash.rs"]
pub(crate) mod hash;
#[path = "../../src/util/query.rs"]
pub(crate) mod query;
#[path = "sync.rs"]
pub(crate) mod sync;
#[path = "../../src/util/time.rs"]
pub(crate) mod time;
