//! The lock that ensures one writer for each file, among all processes.
//!
//! Two files are locked. A lock file beside the database contains the id of the writing process. Two paths to one
//! directory lead to the same lock file. The database itself is locked as well, because one file may have two names, by
//! a hard link or a mount into two containers. Each name would have its own write-ahead log, and the database would be
//! destroyed. SQLite's own locks are not enough, because they allow several writers in turn.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use crate::{
    error::Error,
    store::sqlite::file::{
        descriptor::{DataFile, FileWriter, create_private},
        errors::{refused, unusable},
        path::beside,
    },
    util::sync::{Instant, thread},
};

/// How long opening waits for the previous writer to release its lock. A log that was shut down holds the lock until
/// its last append has ended. A process that is being replaced holds it until it exits, and a child process until it
/// calls `exec`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between two attempts. The system has no lock call with a time limit.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const ADVICE: &str = "and a log has one writer; others may open it with `read_only()`";

/// Holds the lock until this value is dropped, or until the process ends in any way.
#[derive(Debug)]
pub(crate) struct WriteLock {
    data: DataFile,
    file: File,
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        self.data.unlock();
    }
}

/// Locks a file for writing. `path` must come from [`locate`](crate::store::sqlite::file::path::locate).
pub(crate) fn lock_for_writing(path: &Path, data: &DataFile) -> Result<WriteLock, Error> {
    let mut file = open_lock_file(path, data)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    until(deadline, || match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(())),
        Err(TryLockError::Error(error)) => Err(error),
    })
    .map_err(|error| unusable(path, error))?
    .map_or(Ok(()), |()| Err(taken(path, &mut file)))?;
    until(deadline, || data.try_lock(path))
        .map_err(|error| unusable(path, error))?
        .map_or(Ok(()), |writer| Err(taken_by_other_name(path, &writer)))?;
    let lock = WriteLock {
        data: data.clone(),
        file,
    };
    lock.note_process().map_err(|error| unusable(path, error))?;
    Ok(lock)
}

impl WriteLock {
    pub(crate) fn data(&self) -> &DataFile {
        &self.data
    }

    fn note_process(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        write!(&self.file, "{}", std::process::id())
    }
}

/// Returns whether a process writes to the database by this path.
pub(crate) fn is_locked(path: &Path) -> bool {
    let file = File::open(beside(path, "-lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Opens the lock file, or creates it with the permissions of the database.
fn open_lock_file(path: &Path, data: &DataFile) -> Result<File, Error> {
    let name = beside(path, "-lock");
    let open = || match create_private(&name) {
        Ok(file) => {
            file.set_permissions(permissions_of(&data.metadata()?))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(&name)
        }
        Err(error) => Err(error),
    };
    open().map_err(|error: io::Error| {
        refused(
            path,
            format!(
                "cannot open or create the file {} beside it: {error}",
                name.display()
            ),
        )
    })
}

#[cfg(unix)]
fn permissions_of(data: &fs::Metadata) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(data.permissions().mode() & 0o666 | 0o600)
}

#[cfg(not(unix))]
fn permissions_of(data: &fs::Metadata) -> fs::Permissions {
    data.permissions()
}

/// Tries until the lock is free or the deadline passes. Returns the holder at the deadline.
fn until<T>(
    deadline: Instant,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    loop {
        let holder = attempt()?;
        if holder.is_none() || Instant::now() >= deadline {
            return Ok(holder);
        }
        thread::park_timeout(RETRY_INTERVAL);
    }
}

fn taken(path: &Path, file: &mut File) -> Error {
    let mut process = String::new();
    // The process id is needed only for the message. If it cannot be read, it is left out.
    let read = file.read_to_string(&mut process);
    let who = match process.trim().parse::<u32>() {
        Ok(id) if read.is_ok() && id == std::process::id() => {
            "another log of this process".to_owned()
        }
        Ok(id) if read.is_ok() => format!("process {id}"),
        _ => "another process".to_owned(),
    };
    refused(path, format!("{who} is writing to it, {ADVICE}"))
}

fn taken_by_other_name(path: &Path, writer: &FileWriter) -> Error {
    let who = match writer {
        FileWriter::ThisProcess(name) => format!(
            "another log of this process is writing to it under the name {}",
            name.display()
        ),
        FileWriter::OtherProcess => {
            "another process is writing to it under another name".to_owned()
        }
    };
    refused(path, format!("{who}, {ADVICE}"))
}
