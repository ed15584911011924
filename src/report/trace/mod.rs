//! One trace, at present or at an earlier point in time: [`spans`] holds its spans,
//! [`critical_path`] finds those that determined its duration, [`tree`] prints it, [`details`]
//! prints single spans, [`compare`] compares two traces.

pub(crate) mod compare;
pub(crate) mod critical_path;
pub(crate) mod details;
pub(crate) mod spans;
pub(crate) mod tree;
