//! The messages about files that cannot be used. Pure.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::error::Error;

pub(crate) const FOREIGN: &str = "it is the database of another program";

/// Returns the error for a file that livespan itself refuses to use, with the reason.
pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::store(action(path), reason.into())
}

pub(crate) fn unusable(path: &Path, error: io::Error) -> Error {
    Error::store(action(path), error)
}

fn action(path: &Path) -> String {
    format!("open the event log {}", path.display())
}

/// Describes an error at opening. If SQLite's own text is terse, the message tells an operator what to do.
pub(crate) fn describe(path: &Path, error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is not an SQLite database",
        Some(ErrorCode::DatabaseCorrupt) => "the database in it is damaged",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it"
        }
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::ReadOnly) => {
            "it cannot be written to: the file or its directory is read-only"
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "it, its directory, or a file beside it cannot be opened or created"
        }
        _ => return Error::store(action(path), error),
    };
    Error::store(action(path), Error::store(reason, error))
}
