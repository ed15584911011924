//! The running log: the worker thread, commits to the store, outages, shared stores, shutdown. It does not depend on
//! spans: [`encoder`] is its interface to the layer above.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "only `http` uses some parts")
)]

pub(crate) mod append_timeout;
pub(crate) mod committer;
pub(crate) mod diagnostics;
pub(crate) mod encoder;
pub(crate) mod log;
pub(crate) mod outage;
pub(crate) mod reader_registry;
pub(crate) mod resume;
pub(crate) mod shared;
pub(crate) mod threads;
pub(crate) mod warm_up;
pub(crate) mod worker;
