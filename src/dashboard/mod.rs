//! The dashboard's page and its files, embedded in the crate. Their headers allow a browser to run nothing else.
//!
//! `assets/` has the source: plain modules and style sheets. `scripts/bundle` makes `bundle/` from it. Only `bundle/`
//! is served.
//!
//! This layer knows no route and no log. It runs on the task of the request, or on a blocking thread.

mod asset;
mod file_page;
mod page;
mod representation;

pub(crate) use asset::asset;
pub(crate) use file_page::file_page;
pub(crate) use page::page;
