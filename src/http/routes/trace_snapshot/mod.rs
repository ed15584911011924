//! `GET /traces/{id}`: one whole trace as it stood when it was asked for, up to a cursor from which its stream goes on
//! without a hole.
//!
//! A trace may be larger than memory, so nothing here holds one: [`read`] reads it page by page, as often as it is needed,
//! [`overview`] finds out what there is and which event of each span counts ([`latest`]), and [`document`] and [`lines`] write
//! a page and drop it before the next. [`route`] answers the request. What is evicted in the meantime is told, never left out
//! in silence.

pub(crate) mod document;
pub(crate) mod latest;
pub(crate) mod lines;
pub(crate) mod overview;
pub(crate) mod read;
pub(crate) mod route;
