//! The database file itself, below SQL: its path, this process's single descriptor, the write lock, and the check that
//! the file is still there.

pub(crate) mod check;
pub(crate) mod descriptor;
pub(crate) mod errors;
pub(crate) mod path;
pub(crate) mod write_lock;
