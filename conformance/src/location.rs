//! The place where a store under test keeps its log: a folder and a name of its own. Dropping the location removes the
//! folder.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use livespan::{Retention, store::Epoch};

/// The place of one log; empty at first. The suite reopens a log by asking for another store at the same location,
/// after it has closed or dropped the first handle. If the store has a
/// [shared log](livespan::EventStore::shared_log), the first handle may still be open.
#[derive(Debug)]
pub struct StoreLocation {
    name: String,
    directory: PathBuf,
    retention: Retention,
}

impl StoreLocation {
    pub(crate) fn new(retention: Retention) -> io::Result<Self> {
        static LOCATIONS: AtomicU64 = AtomicU64::new(0);
        let number = LOCATIONS.fetch_add(1, Ordering::Relaxed);
        let name = format!("livespan-{}-{number}-{}", process::id(), Epoch::random());
        let directory = env::temp_dir().join(&name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            name,
            directory,
            retention,
        })
    }

    /// Returns the path of a folder that exists, is empty at first, and is removed with the location.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a name of characters in `[a-z0-9-]` that no other location has. Use it as a prefix of keys or as a table
    /// name on a server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the bounds of the log.
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

impl Drop for StoreLocation {
    fn drop(&mut self) {
        // A folder that cannot be removed stays among the temporary files, because that is no fault of the store.
        fs::remove_dir_all(&self.directory).ok();
    }
}
