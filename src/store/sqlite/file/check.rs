//! Checks that the database is still where it was opened. If the file was removed, replaced or truncated, all later
//! writes are lost when its last connection is closed, and SQLite does not notice. The check costs a few system calls.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    store::sqlite::file::{
        descriptor::{DataFile, FileId, FileWriter},
        path::{beside, header_word},
        write_lock::is_locked,
    },
    util::sync::{
        Instant, Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// The offsets of the page size and the number of pages in a database's header.
const PAGE_SIZE_AT: usize = 16;
const PAGES_AT: usize = 28;
/// How long a file must be shorter than its header says before it counts as truncated. The file is shorter for a moment
/// while another program moves the write-ahead log into the database.
const TRUNCATED_TIME: Duration = Duration::from_secs(1);

/// The files of a database, with their identities when it was opened.
#[derive(Debug)]
pub(crate) struct FileCheck {
    path: PathBuf,
    data: DataFile,
    /// The files that SQLite keeps beside the open database, each with its identity.
    beside: Vec<(PathBuf, FileId)>,
    /// Whether the database was seen with a header. Before the first checkpoint all of it is in the write-ahead log.
    has_header: AtomicBool,
    short_since: Mutex<Option<Instant>>,
}

impl FileCheck {
    /// Records the files. The database must be open, and must stay open while this value is used.
    pub(crate) fn new(path: &Path, data: &DataFile) -> Self {
        let files = ["-wal", "-shm"].map(|ending| beside(path, ending));
        let files = files.into_iter().filter_map(|file| {
            let id = FileId::at(&file).ok()?;
            Some((file, id))
        });
        Self {
            path: path.to_owned(),
            data: data.clone(),
            beside: files.collect(),
            has_header: AtomicBool::new(false),
            short_since: Mutex::default(),
        }
    }

    /// Returns the problem with the files, if there is one. No checkpoint may run in this process meanwhile.
    pub(crate) fn problem(&self) -> Option<String> {
        let files = [(&self.path, self.data.id())];
        let beside = self.beside.iter().map(|(path, id)| (path, *id));
        let mut files = files.into_iter().chain(beside);
        let moved = files.find_map(|(path, id)| is_elsewhere(path, id));
        moved.or_else(|| {
            let text = || format!("{} was truncated", self.path.display());
            self.is_truncated().then(text)
        })
    }

    /// Returns the problem with the database of a store that only reads, if there is one: the path no longer leads to
    /// the database, or the writer uses another path.
    pub(crate) fn problem_of_reader(&self) -> Option<String> {
        is_elsewhere(&self.path, self.data.id()).or_else(|| other_name(&self.path, &self.data))
    }

    fn is_truncated(&self) -> bool {
        let mut since = lock(&self.short_since);
        if !self.is_short() {
            *since = None;
            return false;
        }
        let first_seen = *since.get_or_insert_with(Instant::now);
        first_seen.elapsed() >= TRUNCATED_TIME
    }

    /// Returns whether the file is shorter than its header says, or has lost its header.
    fn is_short(&self) -> bool {
        let (Ok(header), Ok(metadata)) = (self.data.header(), self.data.metadata()) else {
            return false;
        };
        if header.is_empty() {
            return self.has_header.load(Ordering::Relaxed);
        }
        self.has_header.store(true, Ordering::Relaxed);
        // The field has 16 bits, so 1 stands for 65,536.
        let page = match header_word(&header, PAGE_SIZE_AT) >> 16 {
            1 => 65_536,
            size => u64::from(size),
        };
        metadata.len() < page * u64::from(header_word(&header, PAGES_AT))
    }
}

fn is_elsewhere(path: &Path, id: FileId) -> Option<String> {
    match FileId::at(path) {
        Ok(now) if now == id => None,
        Ok(_) => Some(format!(
            "another file has taken the place of {}",
            path.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("{} was removed or renamed", path.display()))
        }
        Err(error) => Some(format!("{} cannot be found: {error}", path.display())),
    }
}

/// Returns a message if the file cannot be read by this path, because its writer uses another path. Its newest events
/// are then in a write-ahead log beside that other path.
pub(crate) fn other_name(path: &Path, data: &DataFile) -> Option<String> {
    let is_other = match data.writer() {
        Ok(Some(FileWriter::ThisProcess(writer))) => writer != path,
        Ok(Some(FileWriter::OtherProcess)) => !is_locked(path),
        Ok(None) | Err(_) => false,
    };
    is_other.then(|| {
        "its writer opened it under another name and keeps its newest events in a file beside that one".to_owned()
    })
}
