//! The right to write: one writer a file, in this process and among all. A file beside the database is locked, because
//! SQLite's own locks let writers take turns, and because to close any handle on the database would release them.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Condvar, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    error::Error,
    sse::store::sqlite::schema::{refused, unusable},
    sync::lock,
};

/// How long a log of this process may take to let go of its file, after it was shut down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Files that this process writes to. A log that was shut down holds its file a moment longer, until the last thread
/// has let go of it: who opens it again waits for that instead of being refused.
static HELD: LazyLock<Held> = LazyLock::new(Held::default);

#[derive(Default)]
struct Held {
    paths: Mutex<HashSet<PathBuf>>,
    released: Condvar,
}

/// Holds the right to write until it is dropped, or until the process ends, however it ends.
#[derive(Debug)]
pub(super) struct WriteLock {
    // In this order: the file is free before anybody in this process hears of it.
    _file: File,
    _entry: Entry,
}

#[derive(Debug)]
struct Entry(PathBuf);

impl Entry {
    fn take(path: &Path) -> Option<Self> {
        let held = lock(&HELD.paths);
        let (mut held, _) = HELD
            .released
            .wait_timeout_while(held, PATIENCE, |held| held.contains(path))
            .unwrap_or_else(PoisonError::into_inner);
        held.insert(path.to_owned()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&HELD.paths).remove(&self.0);
        HELD.released.notify_all();
    }
}

/// Takes the right to write to a file, named as [`locate`](super::schema::locate) does.
pub(super) fn lock_for_writing(path: &Path) -> Result<WriteLock, Error> {
    let Some(entry) = Entry::take(path) else {
        return Err(taken(path, "another log of this process"));
    };
    let mut name = OsString::from(path);
    name.push("-lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|error| unusable(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // Only for the message; where it cannot be read, it is left out.
            let read = file.read_to_string(&mut process);
            return Err(match process.trim().parse::<u32>() {
                Ok(id) if read.is_ok() => taken(path, &format!("process {id}")),
                _ => taken(path, "another process"),
            });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(path, error)),
    }
    let noted = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
    noted.map_err(|error| unusable(path, error))?;
    Ok(WriteLock {
        _file: file,
        _entry: entry,
    })
}

fn taken(path: &Path, who: &str) -> Error {
    let advice = "and a log has one writer; others may open it with `read_only()`";
    refused(path, format!("{who} is writing to it, {advice}"))
}
