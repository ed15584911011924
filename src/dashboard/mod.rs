//! The dashboard's page and files, embedded, with the headers that let a browser run nothing else.
//!
//! `assets/` holds the plain modules and style sheets, `bundle/` what `scripts/bundle` makes of them; only `bundle/` is served.
//! This layer knows no route and no log. It runs on the task of the request, or on a blocking thread.

mod asset;
mod page;
mod representation;

pub(crate) use asset::asset;
pub(crate) use page::page;
