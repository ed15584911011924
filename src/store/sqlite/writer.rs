//! The one connection that writes. Each call is one transaction; when it fails, the file is as before, and what is
//! known of it in memory is read anew before the next one.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::{
    error::Error,
    log::{batch::Batch, dedup, retention::Retention},
    store::{
        Abandoned, Life,
        sqlite::{
            convert::{int, moment},
            queries::{KeyNames, event_at},
            retention::{self, Limits, Progress},
            schema::describe,
            state::{Books, EVENT_BYTES, PastLife, kept_once, pack},
            stream_ids::{Stream, weight},
            write_lock::WriteLock,
        },
    },
    wire::id::{Epoch, Sequence},
};

/// How long the end of a log waits for others who read the file.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(200);

/// Lives that are remembered although none of their events is kept: an id of an older one is unknown.
const LIVES_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    books: Books,
    /// Whether a transaction failed, so that the books may say what the file does not.
    stale: bool,
    limits: Limits,
    /// Whether what earlier lives left open was handed out.
    tended: bool,
    _lock: WriteLock,
}

/// What is left to do after a transaction, for the thread that looks after the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chores {
    None,
    Some,
}

impl Writer {
    /// Takes the file over and begins a new life.
    pub(crate) fn open(
        connection: Connection,
        lock: WriteLock,
        retention: Retention,
        path: &Path,
    ) -> Result<Self, Error> {
        let opened = || {
            let books = Books::load(&connection)?;
            let mut writer = Self {
                connection,
                books,
                stale: false,
                limits: retention.into(),
                tended: false,
                _lock: lock,
            };
            writer.transact(|connection, books, _| begin_life(connection, books))?;
            Ok(writer)
        };
        opened().map_err(|error| describe(path, error))
    }

    pub(crate) fn head(&self) -> u64 {
        self.books.head
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.books.oldest
    }

    pub(crate) fn lives(&self) -> impl Iterator<Item = Life> {
        self.books.lives.iter().map(|past| past.life)
    }

    /// When something becomes too old.
    pub(crate) fn expires(&self) -> u64 {
        self.books.expires
    }

    pub(crate) fn append(
        &mut self,
        first: Sequence,
        batch: &Batch,
        now: u64,
    ) -> rusqlite::Result<(Vec<usize>, Chores)> {
        let expires = self.books.expires;
        let mut repeated = Vec::new();
        let progress = self.transact(|connection, books, limits| {
            repeated = dedup::duplicates(batch, |key, token| kept_once(connection, key, token))?;
            let new = (!repeated.is_empty()).then(|| batch.without(&repeated));
            let batch = new.as_ref().unwrap_or(batch);
            if batch.is_empty() {
                return Ok(Progress::Done);
            }
            retention::note_moment(connection, books, limits, first.get(), now)?;
            insert(connection, books, first.get(), batch)?;
            let mut progress = retention::step(connection, books, limits, now)?;
            // What came in at once can also go at once; more than that is left to the other thread.
            if progress == Progress::More {
                progress = retention::step(connection, books, limits, now)?;
            }
            Ok(progress)
        })?;
        let sooner = self.books.expires < expires;
        if progress == Progress::More || sooner || retention::has_spare_pages(&self.connection)? {
            Ok((repeated, Chores::Some))
        } else {
            Ok((repeated, Chores::None))
        }
    }

    /// Does one bounded step of what is due.
    pub(crate) fn maintain(&mut self, now: u64) -> rusqlite::Result<Chores> {
        let due = self.stale || now >= self.books.expires || self.is_over();
        if due {
            let progress = self.transact(|connection, books, limits| {
                retention::step(connection, books, limits, now)
            })?;
            if progress == Progress::More || now >= self.books.expires {
                return Ok(Chores::Some);
            }
        }
        if retention::has_spare_pages(&self.connection)? {
            self.transact(|connection, _, _| retention::give_back(connection))?;
            return Ok(Chores::Some);
        }
        Ok(Chores::None)
    }

    /// Moves the write-ahead log into the database. Where that fails, the next opening does it.
    pub(crate) fn checkpoint(&self) {
        let truncate = || {
            self.connection.busy_timeout(CHECKPOINT_PATIENCE)?;
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
        };
        drop::<rusqlite::Result<()>>(truncate());
    }

    fn is_over(&self) -> bool {
        self.limits.is_exceeded(&self.books)
    }

    /// Returns what earlier lives left open on a stream, once.
    pub(crate) fn abandoned(&mut self) -> rusqlite::Result<Vec<Abandoned>> {
        if self.tended {
            return Ok(Vec::new());
        }
        let current = self
            .books
            .lives
            .last()
            .map_or(0, |past| past.life.first.get());
        let mut names = KeyNames::default();
        let mut abandoned = Vec::new();
        for (sequence, key) in self.books.open.before(current) {
            if key.owner <= 0 {
                continue;
            }
            let heard = self
                .books
                .life_index(sequence)
                .and_then(|place| self.books.lives.get(place))
                .map_or(0, |past| past.heard);
            if let Some(event) = event_at(&self.connection, &mut names, sequence)? {
                abandoned.push(Abandoned {
                    event,
                    last_heard: moment(heard),
                });
            }
        }
        self.tended = true;
        Ok(abandoned)
    }

    /// Makes what is known of the file true again after a transaction that failed.
    pub(crate) fn refresh(&mut self) -> rusqlite::Result<()> {
        if self.stale {
            self.books = Books::load(&self.connection)?;
            self.stale = false;
        }
        Ok(())
    }

    fn transact<R>(
        &mut self,
        run: impl FnOnce(&Connection, &mut Books, Limits) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        self.refresh()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Until the commit, whether the call returns, fails or panics.
        self.stale = true;
        let result = run(&transaction, &mut self.books, self.limits)?;
        self.books.save(&transaction)?;
        transaction.commit()?;
        self.stale = false;
        Ok(result)
    }
}

fn insert(
    connection: &Connection,
    books: &mut Books,
    first: u64,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO event VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (record, sequence) in batch.iter().zip(first..) {
        let stream = match record.stream_key() {
            None => 0,
            Some(key) => match books.streams.number(connection, key, int(sequence))? {
                Stream::Known(number) => number,
                Stream::New(number) => {
                    books.bytes += weight(key.as_bytes());
                    number
                }
            },
        };
        let (pin, token) = pack(&record);
        let (name, payload) = (record.name(), record.payload());
        insert.execute(params![int(sequence), stream, name, pin, token, payload])?;
        let bytes = (name.len() + payload.len()) as u64 + EVENT_BYTES;
        books.events += 1;
        books.bytes += bytes;
        books.head = sequence;
        if let Some((key, gone)) = books.pin(stream, record.pin(), sequence, bytes) {
            retention::release(connection, books, key, gone)?;
        }
    }
    Ok(())
}

/// Ends the last life and begins one. A life in which nothing was written has given no id: it is forgotten.
fn begin_life(connection: &Connection, books: &mut Books) -> rusqlite::Result<()> {
    let first = books.head + 1;
    match books.lives.last_mut() {
        Some(last) if last.life.first.get() == first => {
            connection.execute("DELETE FROM life WHERE first = ?1", [int(first)])?;
            books.lives.pop();
        }
        Some(last) if last.heard == 0 => {
            last.heard = books.heard;
            connection.execute(
                "UPDATE life SET heard = ?1 WHERE first = ?2",
                params![int(last.heard), int(last.life.first.get())],
            )?;
        }
        _ => {}
    }
    let life = Life {
        epoch: Epoch::random(),
        first: Sequence::new(first),
    };
    connection.execute(
        "INSERT INTO life(first, epoch) VALUES(?1, ?2)",
        params![int(first), life.epoch.as_str()],
    )?;
    books.lives.push(PastLife { life, heard: 0 });
    forget_lives(connection, books)
}

/// Forgets the oldest lives beyond the bound, as long as nothing of them is kept.
fn forget_lives(connection: &Connection, books: &mut Books) -> rusqlite::Result<()> {
    while books.lives.len() > LIVES_MAX {
        let (Some(oldest), Some(next)) = (books.lives.first(), books.lives.get(1)) else {
            return Ok(());
        };
        let (first, end) = (oldest.life.first.get(), next.life.first.get());
        if end > books.oldest || books.open.within(first, end).next().is_some() {
            return Ok(());
        }
        connection.execute("DELETE FROM life WHERE first = ?1", [int(first)])?;
        books.lives.remove(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        log::event::Pin,
        store::sqlite::{
            schema::{Synchronous, connect_writer, locate},
            write_lock::lock_for_writing,
        },
    };

    /// A directory that goes when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("livespan-clock-{}-{}", std::process::id(), Epoch::random());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;
    /// Some moment, in milliseconds.
    const NOON: u64 = 1_767_225_600_000;

    /// A log that keeps its events for ten hours.
    fn keeping_ten_hours(folder: &Folder) -> Writer {
        let path = locate(&folder.0.join("spans.db")).unwrap();
        let retention = Retention::default().age(Duration::from_millis(10 * HOUR));
        let lock = lock_for_writing(&path).unwrap();
        let connection = connect_writer(&path, Synchronous::Normal).unwrap();
        Writer::open(connection, lock, retention, &path).unwrap()
    }

    fn append(writer: &mut Writer, now: u64) {
        let mut batch = Batch::default();
        batch.push("note", None, Pin::None, |out| out.push(b'x'));
        let first = Sequence::new(writer.head() + 1);
        writer.append(first, &batch, now).unwrap();
    }

    /// The oldest event that is left when everything that is due was done.
    fn oldest(writer: &mut Writer, now: u64) -> u64 {
        while writer.maintain(now).unwrap() == Chores::Some {}
        writer.oldest()
    }

    #[test]
    fn what_came_while_the_clock_was_ahead_does_not_outlive_what_came_after_it_was_set_right() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        append(&mut writer, NOON + YEAR);
        // The first is too old by then, and only that.
        assert_eq!(oldest(&mut writer, NOON + YEAR), 2);
        append(&mut writer, NOON + HOUR);
        append(&mut writer, NOON + 9 * HOUR);
        assert_eq!(oldest(&mut writer, NOON + 10 * HOUR), 2);
        assert_eq!(oldest(&mut writer, NOON + 12 * HOUR), 4);
        assert_eq!(oldest(&mut writer, NOON + 20 * HOUR), 5);
    }

    #[test]
    fn a_disk_that_is_full_refuses_whole_batches_and_takes_them_when_it_has_room() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        let pages: i64 = writer
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        let room = |writer: &Writer, pages: i64| {
            let set = format!("PRAGMA max_page_count = {pages}");
            let query = writer.connection.query_row(&set, [], |_row| Ok(()));
            query.unwrap();
        };
        room(&writer, pages);
        let mut large = Batch::default();
        for _ in 0..10 {
            large.push("note", None, Pin::Open(1), |out| out.resize(10_000, b'x'));
        }
        for _ in 0..3 {
            let error = writer.append(Sequence::new(2), &large, NOON).unwrap_err();
            assert_eq!(error.to_string(), "database or disk is full");
            writer.refresh().unwrap();
            assert_eq!((writer.oldest(), writer.head()), (1, 1));
        }
        room(&writer, pages + 1_000);
        writer.append(Sequence::new(2), &large, NOON).unwrap();
        assert_eq!((writer.oldest(), writer.head()), (1, 11));
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nothing_go_early_and_nothing_stay_for_ever() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        append(&mut writer, NOON - YEAR);
        assert_eq!(oldest(&mut writer, NOON - YEAR), 1);
        assert_eq!(oldest(&mut writer, NOON - YEAR + 9 * HOUR), 1);
        // Both came at the latest then.
        assert_eq!(oldest(&mut writer, NOON - YEAR + 11 * HOUR), 3);
    }
}
