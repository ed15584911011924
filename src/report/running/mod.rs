//! The report of running spans: a tree of open spans for each trace, oldest first, with the state
//! that each has reported. [`collect`] makes the report, [`span_now`] holds one span's state,
//! [`tree`] orders the spans, [`text`] prints the report.

pub(crate) mod collect;
pub(crate) mod span_now;
pub(crate) mod text;
pub(crate) mod tree;
