//! The database file itself, below SQL: its path, the one descriptor that this process has on it, who may write to it,
//! and whether it is still there.

pub(crate) mod check;
pub(crate) mod descriptor;
pub(crate) mod errors;
pub(crate) mod path;
pub(crate) mod write_lock;
