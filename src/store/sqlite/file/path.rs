//! Resolves the path of the file, and checks whether it can be a file of livespan.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    store::sqlite::file::{
        descriptor::DataFile,
        errors::{FOREIGN, refused, unusable},
    },
};

/// The application id in the header of every file of ours: `livs`.
pub(crate) const APPLICATION_ID: i64 = 0x6c69_7673;
/// The header of a database file, <https://www.sqlite.org/fileformat.html#the_database_header>: its first bytes, and
/// the offsets of the schema's version and of the application id.
const MAGIC: &[u8] = b"SQLite format 3\0";
const SCHEMA_COOKIE_AT: usize = 40;
const APPLICATION_AT: usize = 68;
/// A chain of this many symbolic links is refused.
const LINKS_MAX: usize = 40;

/// Returns the real path of the file, even if the file does not exist yet. Symbolic links are followed, including one
/// whose target does not exist yet.
pub(crate) fn locate(path: &Path) -> Result<PathBuf, Error> {
    let mut named = path.to_owned();
    for _ in 0..LINKS_MAX {
        let file = in_real_folder(path, &named)?;
        match fs::symlink_metadata(&file) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&file).map_err(|error| unusable(path, error))?;
                named = file.parent().unwrap_or(Path::new("/")).join(target);
            }
            Ok(found) if found.is_dir() => return Err(refused(path, "it is a directory")),
            // Refused before it is opened: opening a named pipe would wait until another process opens it, too.
            Ok(found) if !found.is_file() => return Err(refused(path, "it is not a regular file")),
            Ok(_) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(file),
            Err(error) => return Err(unusable(path, error)),
        }
    }
    Err(refused(path, "too many symbolic links lead to it"))
}

/// Replaces the folder of `named` by its real path. `path` is for messages.
fn in_real_folder(path: &Path, named: &Path) -> Result<PathBuf, Error> {
    let Some(name) = named.file_name() else {
        return Err(if named.is_dir() && named != path {
            refused(path, "it is a directory")
        } else {
            refused(path, "it names no file")
        });
    };
    let folder = match named.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            refused(
                path,
                format!("the directory {} does not exist", folder.display()),
            )
        } else {
            unusable(path, error)
        }
    })?;
    Ok(folder.join(name))
}

/// Returns the path of a file that SQLite or the lock keeps beside the database.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    name.into()
}

/// Refuses a file whose first bytes show that it is not a log of ours, before any file is created beside it. Opening
/// the database may still refuse a file that passes here.
pub(crate) fn check_header(path: &Path, file: &DataFile) -> Result<(), Error> {
    let header = match file.header() {
        Ok(header) if !header.is_empty() => header,
        // The file is still empty, or its header cannot be read. Opening the database reports the second case.
        _ => return Ok(()),
    };
    if !header.starts_with(MAGIC) {
        return Err(refused(path, "it is not an SQLite database"));
    }
    let application = i64::from(header_word(&header, APPLICATION_AT));
    // Both are zero in a log whose first transaction is still in the write-ahead log.
    if application != APPLICATION_ID
        && (application, header_word(&header, SCHEMA_COOKIE_AT)) != (0, 0)
    {
        return Err(refused(path, FOREIGN));
    }
    Ok(())
}

/// Returns a number of 32 bits in the header of a database.
pub(crate) fn header_word(header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..at + 4).and_then(|word| word.try_into().ok());
    u32::from_be_bytes(bytes.unwrap_or_default())
}
