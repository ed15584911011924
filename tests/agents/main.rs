//! Livespan's interfaces for agents, terminals and scripts, used from outside over HTTP.

mod answers;
mod client;
mod hanging;
mod protocol;
mod restricted;
