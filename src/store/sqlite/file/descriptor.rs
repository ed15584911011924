//! The database files that this process has open, one descriptor each.
//!
//! When a process closes *any* descriptor of a file, POSIX drops all locks that the process has on that file, including
//! SQLite's locks. So a second descriptor of a file that SQLite has open must not be closed before SQLite's own. All
//! stores on one file share one descriptor here. It is found by device and inode, because each store may use another
//! path. It is closed when the last connection of the last store is closed.
//!
//! Any thread calls it. The registry's lock is held while a file is opened or closed, because the order of these calls
//! matters.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use crate::util::sync::{Mutex, lock};

/// Size of the header of a database, in bytes.
const HEADER_SIZE: usize = 100;

static OPEN_FILES: Mutex<BTreeMap<FileId, OpenFile>> = Mutex::new(BTreeMap::new());

/// Identifies a file on this machine, independently of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(_path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// On other systems, the standard library has no such number, so the canonical path is used.
    #[cfg(not(unix))]
    fn of(path: &Path, _metadata: &Metadata) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        fs::canonicalize(path).ok().hash(&mut hasher);
        Self {
            device: 0,
            inode: hasher.finish(),
        }
    }

    /// Returns the identity of the file that is at this path now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(path, &metadata))
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    handles: usize,
    /// The path by which a store writes to the file, and the id of its process. A fork inherits the registry, so the id
    /// may be that of the parent process.
    writer: Option<(PathBuf, u32)>,
    /// Further descriptors, opened because the file was renamed at that moment. They must not be closed before `file`.
    spare: Vec<File>,
}

/// A handle on an open database file. Each owner of a connection to the file holds a handle until the connection is
/// closed.
#[derive(Debug)]
pub(crate) struct DataFile(FileId);

/// The writer of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileWriter {
    /// A store of this process, by this path.
    ThisProcess(PathBuf),
    OtherProcess,
}

impl DataFile {
    /// Opens the file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, || File::open(path))
    }

    /// Opens the file, and creates it if it does not exist. Only its owner may read and write a new file.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        Self::open_with(path, || match create_private(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(path),
            created => created,
        })
    }

    fn open_with(path: &Path, open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        let mut open_files = lock(&OPEN_FILES);
        if let Ok(id) = FileId::at(path)
            && let Some(known) = open_files.get_mut(&id)
        {
            known.handles += 1;
            return Ok(Self(id));
        }
        let file = open()?;
        let id = FileId::of(path, &file.metadata()?);
        if let Some(known) = open_files.get_mut(&id) {
            known.handles += 1;
            known.spare.push(file);
        } else {
            let opened = OpenFile {
                file,
                handles: 1,
                writer: None,
                spare: Vec::new(),
            };
            open_files.insert(id, opened);
        }
        Ok(Self(id))
    }

    fn with<R>(&self, run: impl FnOnce(&mut OpenFile) -> io::Result<R>) -> io::Result<R> {
        let mut open_files = lock(&OPEN_FILES);
        // Invariant: a file is in the registry while a handle on it exists.
        let known = open_files.get_mut(&self.0);
        run(known.ok_or(io::ErrorKind::NotFound)?)
    }

    pub(crate) fn id(&self) -> FileId {
        self.0
    }

    /// Reads the header of the database. A shorter file yields fewer bytes.
    pub(crate) fn header(&self) -> io::Result<Vec<u8>> {
        self.with(|known| {
            let mut header = Vec::with_capacity(HEADER_SIZE);
            known.file.seek(SeekFrom::Start(0))?;
            let limit = HEADER_SIZE as u64;
            (&known.file).take(limit).read_to_end(&mut header)?;
            Ok(header)
        })
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.with(|known| known.file.metadata())
    }

    /// Acquires the right to write to the file. If another writer has it, returns that writer.
    ///
    /// On Linux, `flock` and SQLite's locks are independent. On other systems they conflict, so only the lock file
    /// keeps other processes out there.
    pub(crate) fn try_lock(&self, path: &Path) -> io::Result<Option<FileWriter>> {
        self.with(|known| {
            if let Some((path, _)) = &known.writer {
                return Ok(Some(FileWriter::ThisProcess(path.clone())));
            }
            if cfg!(any(target_os = "linux", target_os = "android")) {
                match known.file.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => return Ok(Some(FileWriter::OtherProcess)),
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            known.writer = Some((path.to_owned(), std::process::id()));
            Ok(None)
        })
    }

    /// Releases the right to write that [`try_lock`](Self::try_lock) acquired.
    pub(crate) fn unlock(&self) {
        let unlocked = self.with(|known| match known.writer.take() {
            // In a fork, this would release the lock of the parent, which shares it.
            Some((_, process)) if process == std::process::id() => known.file.unlock(),
            _ => Ok(()),
        });
        // The lock is released when the descriptor is closed, at the latest.
        drop(unlocked);
    }

    /// Returns the writer of the file, if there is one.
    pub(crate) fn writer(&self) -> io::Result<Option<FileWriter>> {
        self.with(|known| {
            if let Some((path, _)) = &known.writer {
                return Ok(Some(FileWriter::ThisProcess(path.clone())));
            }
            if cfg!(any(target_os = "linux", target_os = "android")) {
                match known.file.try_lock_shared() {
                    // The lock is held only for a moment. A writer that fails because of it tries again.
                    Ok(()) => known.file.unlock()?,
                    Err(TryLockError::WouldBlock) => return Ok(Some(FileWriter::OtherProcess)),
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            Ok(None)
        })
    }
}

impl Clone for DataFile {
    fn clone(&self) -> Self {
        if let Some(known) = lock(&OPEN_FILES).get_mut(&self.0) {
            known.handles += 1;
        }
        Self(self.0)
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        let mut open_files = lock(&OPEN_FILES);
        if let Some(known) = open_files.get_mut(&self.0) {
            known.handles -= 1;
            if known.handles == 0 {
                // Closed under the lock: a file that is opened after this has its own descriptor, with its own locks.
                drop(open_files.remove(&self.0));
            }
        }
    }
}

/// Creates a file that only its owner may read and write, regardless of the umask.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        // The umask may have removed even the owner's permissions.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}
