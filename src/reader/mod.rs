//! Readers of the log: [`cursor`] is the place of one reader, [`resume`] where it begins, [`paging`] how it reads what only
//! the store has, [`gaps`] what it is told of losses, and [`subscription`] the stream for Rust code.

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
