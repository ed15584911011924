//! The readers of a log. [`cursor`] is the position of one reader, [`resume`] decides where it begins, [`paging`] reads
//! older events from the store, [`gaps`] reports losses, and [`subscription`] is the stream for Rust code. Everything
//! runs on the readers' tasks. A slow reader must never delay the log.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "without `http`, nothing uses some parts")
)]

mod cursor;
mod gaps;
mod page;
mod paging;
mod resume;
mod scope;
pub(crate) mod subscription;

pub(crate) use self::{
    cursor::Reader,
    scope::{Filter, OpenGlobalEvents, ReadItem, Scope},
};
