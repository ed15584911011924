//! An open store and the events of these tests as text. `a +7 x` is an event on stream `a` that
//! opens token 7 and has the payload `x`. `-7` closes the token, `.` does neither, and `*` stands
//! for every stream.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use livespan::{
    Error, EventStore as _, Retention, SqliteEventStore,
    sse::{Pinning, Sequence, StreamKey},
    store::{Batch, OpenEventRecovery as _, PageLimit, StoredEvent, Synchronous},
};

use crate::support::block_on;

/// The directory of one test. Dropping this removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("livespan-sqlite-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the log.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("events.db")
    }

    /// Returns a store that does not wait for the disk, because no test cuts the power.
    pub(crate) fn store(&self) -> SqliteEventStore {
        SqliteEventStore::new(self.file()).synchronous(Synchronous::Off)
    }

    pub(crate) fn open(&self) -> Log {
        Log::open(self.store())
    }

    pub(crate) fn keeping(&self, events: usize) -> Log {
        Log::open(self.store().retention(keeping(events)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) fn keeping(events: usize) -> Retention {
    SqliteEventStore::default_retention().events(events)
}

pub(crate) struct Log {
    pub(crate) store: SqliteEventStore,
    next: u64,
}

impl Log {
    pub(crate) fn open(store: SqliteEventStore) -> Self {
        let next = store.open().unwrap().get() + 1;
        Self { store, next }
    }

    pub(crate) fn put(&mut self, events: &[&str]) {
        self.try_put(events).unwrap();
    }

    /// Appends a batch. Its sequences are used up only if the batch is kept.
    pub(crate) fn try_put(&mut self, events: &[&str]) -> Result<(), Error> {
        self.store
            .append(Sequence::new(self.next), &batch(events))?;
        self.next += events.len() as u64;
        Ok(())
    }

    /// Appends this many arbitrary events, a hundred at a time.
    pub(crate) fn fill(&mut self, count: usize) {
        let filler = vec!["filler . -"; 100];
        let mut left = count;
        while left > 0 {
            self.put(&filler[..left.min(100)]);
            left -= left.min(100);
        }
    }

    pub(crate) fn leave_out(&mut self, numbers: u64) {
        self.next += numbers;
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.after(0)
    }

    pub(crate) fn after(&self, after: u64) -> Vec<String> {
        let read = self.store.read_after(Sequence::new(after), ANY);
        transcript(&block_on(read).unwrap())
    }

    pub(crate) fn of(&self, streams: &[&str], after: u64) -> Vec<String> {
        let keys: Vec<StreamKey> = streams.iter().map(|stream| key(stream)).collect();
        let read = self
            .store
            .read_streams_after(&keys, Sequence::new(after), ANY);
        transcript(&block_on(read).unwrap())
    }

    pub(crate) fn standing(&self) -> Vec<String> {
        transcript(&block_on(self.store.read_open_global_events()).unwrap())
    }

    pub(crate) fn abandoned(&self) -> Vec<String> {
        let tended = self.store.recover_open_events().unwrap();
        assert_eq!(tended.reopened, []);
        let events: Vec<StoredEvent> = tended.abandoned.into_iter().map(|one| one.event).collect();
        transcript(&events)
    }

    /// Returns every stream with the sequences of its first and last kept event, newest first.
    pub(crate) fn streams_before(&self, before: u64, limit: usize) -> Vec<(String, u64, u64)> {
        let list = self.store.streams_before(Sequence::new(before), limit);
        let name = |key: StreamKey| String::from_utf8(key.as_bytes().to_vec()).unwrap();
        block_on(list)
            .unwrap()
            .into_iter()
            .map(|stream| (name(stream.key), stream.first.get(), stream.last.get()))
            .collect()
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.store.oldest().get()
    }
}

/// A page without bounds.
pub(crate) const ANY: PageLimit = PageLimit::UNBOUNDED;

pub(crate) fn key(stream: &str) -> StreamKey {
    StreamKey::new(stream).unwrap()
}

pub(crate) fn batch(events: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for event in events {
        let mut words = event.splitn(3, ' ');
        let (stream, pin, payload) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        let pin = match pin.split_at(1) {
            ("+", token) => Pinning::Open(token.parse().unwrap()),
            ("-", token) => Pinning::Close(token.parse().unwrap()),
            _ => Pinning::None,
        };
        let key = (stream != "*").then(|| key(stream));
        batch.add("note", key, pin, payload.as_bytes());
    }
    batch
}

/// Returns events as text, each with its sequence first.
pub(crate) fn transcript(events: &[StoredEvent]) -> Vec<String> {
    let line = |event: &StoredEvent| {
        let stream = event.key.map_or("*".to_owned(), |key| {
            String::from_utf8(key.as_bytes().to_vec()).unwrap()
        });
        let pin = match event.pin {
            Pinning::Open(token) => format!("+{token}"),
            Pinning::Close(token) => format!("-{token}"),
            _ => ".".to_owned(),
        };
        let payload = String::from_utf8(event.payload.to_vec()).unwrap();
        assert_eq!(event.name, "note");
        format!("{} {stream} {pin} {payload}", event.sequence)
    };
    events.iter().map(line).collect()
}
