//! Readers of the log: [`cursor`] is the position of one reader, [`resume`] where it begins, [`paging`] how it reads
//! older events from the store, [`gaps`] how it reports losses, and [`subscription`] the stream for Rust code.
//! Everything runs on the tasks of the readers; a slow reader never delays the log.

#![cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "the layers above alone use parts of it")
)]

mod cursor;
mod gaps;
mod paging;
mod resume;
mod scope;
pub(crate) mod subscription;

pub(crate) use self::{
    cursor::Reader,
    scope::{Filter, OpenGlobalEvents, ReadItem, Scope},
};
