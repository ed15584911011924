//! Where a store under test keeps its log: a folder and a name of its own, gone when the check is over.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use livespan::{Retention, store::Epoch};

/// One place for a log, empty at first. The suite asks for a store at a place, and asks again at the same place to open
/// the same log once more: after it let go of the first handle or, if the store can be followed
/// ([`EventStore::follow`](livespan::EventStore::shared_log)), beside it.
#[derive(Debug)]
pub struct Place {
    name: String,
    directory: PathBuf,
    retention: Retention,
}

impl Place {
    pub(crate) fn new(retention: Retention) -> io::Result<Self> {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("livespan-{}-{number}-{}", process::id(), Epoch::random());
        let directory = env::temp_dir().join(&name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            name,
            directory,
            retention,
        })
    }

    /// Returns a folder that is there, is empty at first, and is removed with the place.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a name that no other place has, of `[a-z0-9-]`: for a prefix of keys or a table on a server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how much the log shall keep.
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files; that breaks no promise of the store.
        fs::remove_dir_all(&self.directory).ok();
    }
}
