//! One trace, whole or as it was at a moment: [`spans`] holds its spans, [`critical_path`] says which of them made it take
//! as long as it did, [`tree`] prints it, [`details`] prints single spans, [`compare`] two traces side by side.

pub(crate) mod compare;
pub(crate) mod critical_path;
pub(crate) mod details;
pub(crate) mod spans;
pub(crate) mod tree;
