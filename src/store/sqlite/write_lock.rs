//! The lock that allows one writer a file, in this process and among all processes.
//!
//! A file beside the database is locked. SQLite's own locks would let writers take turns, and closing any handle on the
//! database would release them.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::Path,
    time::Duration,
};

use crate::{
    error::Error,
    store::sqlite::schema::{refused, unusable},
    util::sync::{Instant, thread},
};

/// How long opening waits for the previous writer to release its lock. A log that was shut down holds the lock until its
/// last thread has ended, a process that is being replaced until it exits, and a child process until it calls `exec`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between two tries: the system has no lock call with a time limit.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Holds the lock until it is dropped, or until the process ends in any way.
#[derive(Debug)]
pub(crate) struct WriteLock {
    _file: File,
}

/// Locks a file for writing. `path` must come from [`locate`](crate::store::sqlite::schema::locate).
pub(crate) fn lock_for_writing(path: &Path) -> Result<WriteLock, Error> {
    let mut name = OsString::from(path);
    name.push("-lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|error| {
            refused(
                path,
                format!(
                    "cannot open or make the file {} beside it: {error}",
                    Path::new(&name).display()
                ),
            )
        })?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIMEOUT => {
                thread::park_timeout(RETRY_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => return Err(taken(path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(unusable(path, error)),
        }
    }
    let noted = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
    noted.map_err(|error| unusable(path, error))?;
    Ok(WriteLock { _file: file })
}

fn taken(path: &Path, file: &mut File) -> Error {
    let mut process = String::new();
    // Only for the message; where it cannot be read, it is left out.
    let read = file.read_to_string(&mut process);
    let who = match process.trim().parse::<u32>() {
        Ok(id) if read.is_ok() && id == std::process::id() => {
            "another log of this process".to_owned()
        }
        Ok(id) if read.is_ok() => format!("process {id}"),
        _ => "another process".to_owned(),
    };
    let advice = "and a log has one writer; others may open it with `read_only()`";
    refused(path, format!("{who} is writing to it, {advice}"))
}
