//! What livespan tells agents, terminals and scripts of a program: as they ask, over HTTP, from outside.

mod answers;
mod client;
mod hanging;
mod protocol;
mod restricted;
