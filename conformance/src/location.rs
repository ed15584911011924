//! Where a store under test keeps its log: a folder and a name of its own. The check that made it
//! removes it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use livespan::{Retention, store::Epoch};

/// Where one log is kept; empty at first. The suite asks for a store at a location, and asks again at the same location
/// to open the same log once more: after it dropped the first handle or, if the store has a
/// [shared log](livespan::EventStore::shared_log), beside it.
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

    /// Returns a folder that exists, is empty at first, and is removed with the location.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a name that no other location has, of `[a-z0-9-]`: for a prefix of keys or a table on a server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the bounds of what the log keeps.
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

impl Drop for StoreLocation {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files; that breaks no promise of the store.
        fs::remove_dir_all(&self.directory).ok();
    }
}
