//! The running log: its worker, its commits, its outages.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the layers above alone use parts of it")
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
