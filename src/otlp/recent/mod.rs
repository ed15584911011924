//! What was received lately, so that a repeated request adds nothing: [`ends`] of spans and [`logs`]. Bounded: the
//! oldest is forgotten first. Pure; the worker uses it.

mod ends;
mod keys;
mod logs;

pub(super) use self::{
    ends::{KnownEnd, RecentEnds, event_hash},
    logs::{RecentLogs, RepeatedLog},
};
