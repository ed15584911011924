//! The locations of this user's files: the log, the configuration, and the files by which running
//! programs find each other.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Returns the file of the default log.
pub(crate) fn default_store() -> Option<PathBuf> {
    Some(state()?.join("livespan.db"))
}

/// Returns the default configuration file, which is read if it exists.
pub(crate) fn default_config() -> Option<PathBuf> {
    let folder = match directory("XDG_CONFIG_HOME") {
        Some(folder) => folder,
        None if cfg!(windows) => directory("APPDATA")?,
        None if cfg!(target_os = "macos") => home()?.join("Library/Application Support"),
        None => home()?.join(".config"),
    };
    Some(folder.join("livespan").join("config.toml"))
}

/// Returns the directory of the files by which running programs find each other.
pub(crate) fn runtime() -> Option<PathBuf> {
    match directory("XDG_RUNTIME_DIR") {
        Some(folder) => Some(folder.join("livespan")),
        None => state(),
    }
}

fn state() -> Option<PathBuf> {
    let folder = match directory("XDG_STATE_HOME") {
        Some(folder) => folder,
        None if cfg!(windows) => directory("LOCALAPPDATA")?,
        None if cfg!(target_os = "macos") => home()?.join("Library/Application Support"),
        None => home()?.join(".local/state"),
    };
    Some(folder.join("livespan"))
}

/// Returns the directory in a variable. A relative path is ignored, as the XDG specification
/// requires.
fn directory(variable: &str) -> Option<PathBuf> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    env::var_os(variable).and_then(absolute)
}

fn home() -> Option<PathBuf> {
    directory("HOME")
}

/// Creates a directory and its missing parents. On Unix, only this user can read them.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Replaces a file atomically. On Unix, only this user can read the new file. It is on the disk
/// before it replaces the old one.
pub(crate) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        create_private(folder)?;
    }
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(&part)?;
    written.write_all(text.as_bytes())?;
    written.sync_data()?;
    fs::rename(&part, file)
}
