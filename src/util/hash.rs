//! Maps by ids, of which every event looks up several. Ids may come from outside, so the hash is seeded by chance for
//! each process, and of keys alone nobody finds out which of them collide. What needs a hash that withstands someone who
//! can also watch it does not belong here.

use std::collections::HashMap;
use std::collections::HashSet;

pub(crate) use foldhash::fast::RandomState;

pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;
pub(crate) type Set<K> = HashSet<K, RandomState>;
