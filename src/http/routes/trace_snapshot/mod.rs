//! `GET /traces/{id}`: one whole trace as of the request. It ends at a cursor from which the
//! trace's stream continues without a hole.
//!
//! A trace may be larger than memory, so no code here holds a whole trace. [`read`] reads it page
//! by page, as often as needed. [`overview`] counts the events and selects the event that
//! represents each span ([`latest`]). [`document`], [`lines`] and `html` write one page and drop it
//! before the next; `html` makes a file that needs no server. The updates of an open span are
//! merged into one ([`open_updates`]). [`route`] answers the request. If events are evicted
//! meanwhile, the response reports the loss.

pub(crate) mod document;
#[cfg(feature = "testing")]
pub(crate) mod file;
#[cfg(feature = "dashboard")]
pub(crate) mod html;
pub(crate) mod latest;
pub(crate) mod lines;
pub(crate) mod open_updates;
pub(crate) mod overview;
pub(crate) mod read;
pub(crate) mod route;
#[cfg(feature = "dashboard")]
pub(crate) mod shortened_ends;
