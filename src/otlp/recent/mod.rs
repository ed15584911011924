//! Remembers recently received [`ends`] of spans and [`logs`], so that a repeated request stores
//! nothing. Bounded: the oldest is forgotten first. Pure; the worker uses it.

mod ends;
mod logs;
mod recent_keys;

pub(super) use self::{
    ends::{KnownEnd, RecentEnds, event_hash},
    logs::{RecentLogs, RepeatedLog},
};
