//! Mounts the files that the modules know as `crate::util`.

#[path = "../../src/util/hash.rs"]
pub(crate) mod hash;
#[path = "sync.rs"]
pub(crate) mod sync;
#[path = "../../src/util/time.rs"]
pub(crate) mod time;
