//! Hash maps with ids as keys. Every event looks up several of them. Ids may come from outside, so each process seeds
//! the hash at random: an attacker who controls the keys cannot construct collisions. Any thread uses it. Do not use it
//! where an attacker can also measure the process.

use std::collections::HashMap;
use std::collections::HashSet;

pub(crate) use foldhash::fast::RandomState;

pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;
pub(crate) type Set<K> = HashSet<K, RandomState>;
