//! What is open now: a tree of open spans for each trace, oldest first, with what each says of itself. [`collect`] makes
//! the report, [`span_now`] knows one span, [`tree`] its place, [`text`] prints the report.

pub(crate) mod collect;
pub(crate) mod span_now;
pub(crate) mod text;
pub(crate) mod tree;
