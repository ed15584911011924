//! The right to write: one writer a file, in this process and among all. A file beside the database is locked, because
//! SQLite's own locks let writers take turns, and because to close any handle on the database would release them.

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

/// How long the last writer may take to let go: a log that was shut down holds its file until its last thread is gone,
/// a process that is replaced may still be ending, and a child that it just started holds a copy until it runs its
/// program.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries; the system can tell nobody that a lock is free but who waits for it without a limit.
const PAUSE: Duration = Duration::from_millis(5);

/// Holds the right to write until it is dropped, or until the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct WriteLock {
    _file: File,
}

/// Takes the right to write to a file, named as [`locate`](crate::store::sqlite::schema::locate) does.
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
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                thread::park_timeout(PAUSE);
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
