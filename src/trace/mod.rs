//! The state of traces while they run and after they end: index, summaries, search, operations.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing reads some parts")
)]

pub(crate) mod end;
pub(crate) mod filter;
pub(crate) mod index;
pub(crate) mod interner;
pub(crate) mod live_list;
pub(crate) mod logs;
pub(crate) mod observer;
pub(crate) mod operations;
pub(crate) mod parse;
pub(crate) mod search;
pub(crate) mod span_change;
pub(crate) mod state;
pub(crate) mod stored;
pub(crate) mod summary;

pub use crate::trace::{end::TraceEnd, state::TraceState};
