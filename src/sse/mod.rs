//! The SSE core: a log of events that is replayed and streamed. It knows no OpenTelemetry and no axum type.
//!
//! An event goes down this list and its bytes come up again: [`target`] (front door), [`intake`] (bounded buffer),
//! [`worker`] (the one thread), [`log`] (store and memory joined), [`tail`] (blocks and indices), [`reader`] (a place
//! in the log), [`subscription`] and [`body`] (what a consumer holds).

pub(crate) mod advance;
pub(crate) mod batch;
pub(crate) mod block;
pub(crate) mod body;
pub(crate) mod control;
pub(crate) mod event;
pub(crate) mod follower;
pub(crate) mod following;
pub(crate) mod frame;
pub(crate) mod id;
pub(crate) mod intake;
pub(crate) mod keeper;
pub(crate) mod keys;
pub(crate) mod lapse;
pub(crate) mod log;
pub(crate) mod once;
pub(crate) mod prime;
pub(crate) mod reader;
mod readers;
pub(crate) mod record;
pub(crate) mod retention;
pub(crate) mod room;
pub(crate) mod store;
pub(crate) mod subscription;
pub(crate) mod tail;
pub(crate) mod target;
pub(crate) mod translate;
pub(crate) mod trouble;
pub(crate) mod wait;
pub(crate) mod worker;
pub(crate) mod writer;
