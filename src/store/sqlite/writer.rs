//! The log's only SQLite connection for writes.
//!
//! Each change is one transaction. If it fails, the file is unchanged, and the state in memory is read again before the
//! next change. The thread that appends, the maintenance thread and any thread that keeps a stream share the writer,
//! under the lock of `SharedWriter`.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::{
    error::Error,
    log::{
        batch::Batch,
        dedup,
        event::StreamKey,
        retention::{KeepError, Retention},
    },
    store::{
        AbandonedEvent, EpochStart,
        sqlite::{
            file::{check::FileCheck, errors::describe, write_lock::WriteLock},
            queries::{StreamKeyCache, event_at},
            retention::{self, Limits, TrimProgress},
            schema::{int, moment},
            state::{EVENT_BYTES, EpochRecord, LogState, deduplication_state, pack},
            stream_ids::{self, StreamNumber, stream_bytes},
        },
    },
    wire::id::{Epoch, Sequence},
};

/// Upper bound on the time that the checkpoint at shutdown waits for readers of the file.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_millis(200);

/// Beyond this number of epochs, the oldest that have no event left are forgotten. An id of a forgotten epoch is
/// unknown.
const EPOCHS_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct SqliteWriter {
    connection: Connection,
    state: LogState,
    /// Whether a transaction failed, so that `state` may differ from the file.
    stale: bool,
    limits: Limits,
    /// Whether the open events of earlier epochs have been returned.
    has_recovered: bool,
    file: FileCheck,
    _lock: WriteLock,
}

/// Whether a transaction left work for the maintenance thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingMaintenance {
    None,
    Some,
}

impl SqliteWriter {
    /// Reads the state of the file and begins a new epoch.
    pub(crate) fn open(
        connection: Connection,
        lock: WriteLock,
        retention: Retention,
        path: &Path,
    ) -> Result<Self, Error> {
        let opened = || {
            let state = LogState::load(&connection)?;
            let mut writer = Self {
                connection,
                state,
                stale: false,
                limits: retention.into(),
                has_recovered: false,
                file: FileCheck::new(path, lock.data()),
                _lock: lock,
            };
            writer.transact(|connection, state, _| begin_epoch(connection, state))?;
            Ok(writer)
        };
        opened().map_err(|error| describe(path, error))
    }

    pub(crate) fn head(&self) -> u64 {
        self.state.head
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.state.oldest
    }

    pub(crate) fn epochs(&self) -> impl Iterator<Item = EpochStart> {
        self.state.epochs.iter().map(|record| record.start)
    }

    /// Returns the time, in milliseconds since 1970, at which the next events become too old.
    pub(crate) fn expires(&self) -> u64 {
        self.state.expires
    }

    pub(crate) fn append(
        &mut self,
        first: Sequence,
        batch: &Batch,
        now: u64,
    ) -> rusqlite::Result<(Vec<usize>, PendingMaintenance)> {
        let expires = self.state.expires;
        let mut duplicates = Vec::new();
        let progress = self.transact(|connection, state, limits| {
            duplicates = dedup::duplicates(batch, |key, token| {
                deduplication_state(connection, key, token)
            })?;
            let new = (!duplicates.is_empty()).then(|| batch.without(&duplicates));
            let batch = new.as_ref().unwrap_or(batch);
            if batch.is_empty() {
                return Ok(TrimProgress::Done);
            }
            retention::record_commit_time(connection, state, limits, first.get(), now)?;
            insert(connection, state, first.get(), batch)?;
            retention::save_kept(connection, state, limits)?;
            let mut progress = retention::trim_step(connection, state, limits, now)?;
            // A second step compensates for a large batch. The maintenance thread does the rest.
            if progress == TrimProgress::More {
                progress = retention::trim_step(connection, state, limits, now)?;
            }
            Ok(progress)
        })?;
        let sooner = self.state.expires < expires;
        if progress == TrimProgress::More || sooner || retention::has_spare_pages(&self.connection)?
        {
            Ok((duplicates, PendingMaintenance::Some))
        } else {
            Ok((duplicates, PendingMaintenance::None))
        }
    }

    /// Keeps a stream on request.
    pub(crate) fn keep(&mut self, key: &StreamKey) -> rusqlite::Result<Result<(), KeepError>> {
        self.transact(|connection, state, limits| retention::keep(connection, state, limits, key))
    }

    /// Stops keeping a stream. Returns whether it was kept.
    pub(crate) fn stop_keeping(&mut self, key: &StreamKey) -> rusqlite::Result<bool> {
        self.transact(
            |connection, state, limits| match stream_ids::find(connection, key)? {
                Some(stream) => retention::stop_keeping(connection, state, limits, stream),
                None => Ok(false),
            },
        )
    }

    /// Returns the streams that are kept on request.
    pub(crate) fn kept(&self) -> rusqlite::Result<Vec<StreamKey>> {
        let mut streams: Vec<i64> = self.state.carried.kept().collect();
        streams.sort_unstable();
        let keys = streams
            .into_iter()
            .map(|stream| stream_ids::key(&self.connection, stream));
        keys.filter_map(Result::transpose).collect()
    }

    /// Returns how many streams are kept on request.
    pub(crate) fn kept_count(&self) -> usize {
        self.state.carried.kept().count()
    }

    /// Runs one bounded step of maintenance.
    pub(crate) fn maintain(&mut self, now: u64) -> rusqlite::Result<PendingMaintenance> {
        let due = self.stale || now >= self.state.expires || self.is_over();
        if due {
            let progress = self.transact(|connection, state, limits| {
                retention::trim_step(connection, state, limits, now)
            })?;
            if progress == TrimProgress::More || now >= self.state.expires {
                return Ok(PendingMaintenance::Some);
            }
        }
        if retention::has_spare_pages(&self.connection)? {
            self.transact(|connection, _, _| retention::vacuum_step(connection))?;
            return Ok(PendingMaintenance::Some);
        }
        Ok(PendingMaintenance::None)
    }

    /// Returns the reason why writes to the file would be lost, or `None` if there is none.
    pub(crate) fn file_problem(&self) -> Option<String> {
        self.file.problem()
    }

    /// Moves the write-ahead log into the database. If that fails, the next opening does it.
    pub(crate) fn checkpoint(&self) {
        let truncate = || {
            self.connection.busy_timeout(CHECKPOINT_TIMEOUT)?;
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
        };
        drop::<rusqlite::Result<()>>(truncate());
    }

    fn is_over(&self) -> bool {
        self.limits.is_exceeded(&self.state)
    }

    /// Returns the open events of earlier epochs, except global ones. Later calls return nothing.
    pub(crate) fn abandoned(&mut self) -> rusqlite::Result<Vec<AbandonedEvent>> {
        if self.has_recovered {
            return Ok(Vec::new());
        }
        let current = self
            .state
            .epochs
            .last()
            .map_or(0, |record| record.start.first.get());
        let mut keys = StreamKeyCache::default();
        let mut abandoned = Vec::new();
        for (sequence, key) in self.state.open.before(current) {
            if key.owner <= 0 || key.is_state {
                continue;
            }
            let last_write = self
                .state
                .epoch_index(sequence)
                .and_then(|place| self.state.epochs.get(place))
                .map_or(0, |record| record.last_write);
            if let Some(event) = event_at(&self.connection, &mut keys, sequence)? {
                abandoned.push(AbandonedEvent {
                    event,
                    last_heard: moment(last_write),
                });
            }
        }
        self.has_recovered = true;
        Ok(abandoned)
    }

    /// Reads the state from the file again if a transaction failed.
    pub(crate) fn refresh(&mut self) -> rusqlite::Result<()> {
        if self.stale {
            self.state = LogState::load(&self.connection)?;
            self.stale = false;
        }
        Ok(())
    }

    fn transact<R>(
        &mut self,
        run: impl FnOnce(&Connection, &mut LogState, Limits) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        self.refresh()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Cleared only after the commit, because the call may fail or panic.
        self.stale = true;
        let result = run(&transaction, &mut self.state, self.limits)?;
        self.state.save(&transaction)?;
        transaction.commit()?;
        self.stale = false;
        Ok(result)
    }
}

fn insert(
    connection: &Connection,
    state: &mut LogState,
    first: u64,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO event VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (record, sequence) in batch.iter().zip(first..) {
        let stream = match record.stream_key() {
            None => 0,
            Some(key) => match state.streams.number(connection, key, int(sequence))? {
                StreamNumber::Known(number) => number,
                StreamNumber::New(number) => {
                    state.bytes += stream_bytes(key.as_bytes());
                    number
                }
            },
        };
        let (pin, token) = pack(&record);
        let (name, payload) = (record.name(), record.payload());
        insert.execute(params![int(sequence), stream, name, pin, token, payload])?;
        let bytes = (name.len() + payload.len()) as u64 + EVENT_BYTES;
        state.events += 1;
        state.bytes += bytes;
        state.head = sequence;
        state.carried.appended(stream, bytes);
        let replaced = state.pin(stream, record.pin(), sequence, bytes);
        for (key, gone) in replaced.into_iter().flatten() {
            retention::release_closed(connection, state, key, gone)?;
        }
    }
    Ok(())
}

/// Ends the last epoch and begins a new one. An epoch without events has issued no id, so it is forgotten.
fn begin_epoch(connection: &Connection, state: &mut LogState) -> rusqlite::Result<()> {
    let first = state.head + 1;
    match state.epochs.last_mut() {
        Some(last) if last.start.first.get() == first => {
            connection.execute("DELETE FROM life WHERE first = ?1", [int(first)])?;
            state.epochs.pop();
        }
        Some(last) if last.last_write == 0 => {
            last.last_write = state.last_write;
            connection.execute(
                "UPDATE life SET heard = ?1 WHERE first = ?2",
                params![int(last.last_write), int(last.start.first.get())],
            )?;
        }
        _ => {}
    }
    let start = EpochStart {
        epoch: Epoch::random(),
        first: Sequence::new(first),
    };
    connection.execute(
        "INSERT INTO life(first, epoch) VALUES(?1, ?2)",
        params![int(first), start.epoch.as_str()],
    )?;
    state.epochs.push(EpochRecord {
        start,
        last_write: 0,
    });
    forget_epochs(connection, state, EPOCHS_MAX)
}

/// Forgets the oldest epochs that have no event left, until `max` epochs are left. So the number of epochs is bounded
/// by `max` and the number of events.
fn forget_epochs(
    connection: &Connection,
    state: &mut LogState,
    max: usize,
) -> rusqlite::Result<()> {
    let mut place = 0;
    while state.epochs.len() > max {
        let (Some(epoch), Some(next)) = (state.epochs.get(place), state.epochs.get(place + 1))
        else {
            return Ok(());
        };
        let (first, end) = (epoch.start.first.get(), next.start.first.get());
        if end > state.oldest {
            return Ok(());
        }
        if state.open.within(first, end).next().is_some()
            || retention::has_stream_events(connection, first, end)?
        {
            place += 1;
            continue;
        }
        connection.execute("DELETE FROM life WHERE first = ?1", [int(first)])?;
        state.epochs.remove(place);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        log::event::Pinning,
        store::sqlite::{
            file::{descriptor::DataFile, path::locate, write_lock::lock_for_writing},
            schema::{Synchronous, connect_writer},
            state::load_epochs,
        },
    };

    /// A directory that is removed when the test ends.
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
    /// An arbitrary moment, in milliseconds.
    const NOON: u64 = 1_767_225_600_000;

    /// A log that keeps its events for ten hours.
    fn keeping_ten_hours(folder: &Folder) -> SqliteWriter {
        writer(
            folder,
            Retention::default().age(Duration::from_millis(10 * HOUR)),
        )
    }

    fn writer(folder: &Folder, retention: Retention) -> SqliteWriter {
        let path = locate(&folder.0.join("spans.db")).unwrap();
        let data = DataFile::open_or_create(&path).unwrap();
        let lock = lock_for_writing(&path, &data).unwrap();
        let connection = connect_writer(&path, Synchronous::Normal).unwrap();
        SqliteWriter::open(connection, lock, retention, &path).unwrap()
    }

    fn append(writer: &mut SqliteWriter, now: u64) {
        let mut batch = Batch::default();
        batch.push("note", None, Pinning::None, |out| out.push(b'x'));
        let first = Sequence::new(writer.head() + 1);
        writer.append(first, &batch, now).unwrap();
    }

    /// Runs all maintenance that is due. Returns the oldest event that is left.
    fn oldest(writer: &mut SqliteWriter, now: u64) -> u64 {
        while writer.maintain(now).unwrap() == PendingMaintenance::Some {}
        writer.oldest()
    }

    #[test]
    fn events_stored_while_the_clock_was_ahead_do_not_outlive_later_events() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        append(&mut writer, NOON + YEAR);
        // Only the first event is too old by then.
        assert_eq!(oldest(&mut writer, NOON + YEAR), 2);
        append(&mut writer, NOON + HOUR);
        append(&mut writer, NOON + 9 * HOUR);
        assert_eq!(oldest(&mut writer, NOON + 10 * HOUR), 2);
        assert_eq!(oldest(&mut writer, NOON + 12 * HOUR), 4);
        assert_eq!(oldest(&mut writer, NOON + 20 * HOUR), 5);
    }

    #[test]
    fn carried_events_are_removed_once_their_stream_has_ended_and_they_are_too_old() {
        let folder = Folder::new();
        let retention = Retention::default().events(40);
        let mut writer = writer(&folder, retention.age(Duration::from_millis(10 * HOUR)));
        let put = |writer: &mut SqliteWriter, stream: &str, pin, now| {
            let mut batch = Batch::default();
            let key = StreamKey::new(stream).unwrap();
            batch.push("note", Some(key), pin, |out| out.push(b'x'));
            let first = Sequence::new(writer.head() + 1);
            writer.append(first, &batch, now).unwrap();
        };
        let left = |writer: &SqliteWriter, stream: &str| -> i64 {
            let count = "SELECT count(*) FROM event WHERE stream = (SELECT first FROM stream WHERE key = ?1)";
            let count = writer
                .connection
                .query_row(count, [stream.as_bytes()], |row| row.get(0));
            count.unwrap()
        };
        for stream in ["ended", "open"] {
            put(&mut writer, stream, Pinning::Open(1), NOON);
            put(&mut writer, stream, Pinning::None, NOON);
        }
        // Retention passes the first events of both streams while both are open.
        for _ in 0..50 {
            put(&mut writer, "other", Pinning::None, NOON);
        }
        put(&mut writer, "ended", Pinning::Close(1), NOON + HOUR);
        for _ in 0..50 {
            put(&mut writer, "other", Pinning::None, NOON + 2 * HOUR);
        }
        let both = |writer: &SqliteWriter| (left(writer, "ended"), left(writer, "open"));
        oldest(&mut writer, NOON + 10 * HOUR);
        assert_eq!(both(&writer), (3, 2));
        oldest(&mut writer, NOON + 12 * HOUR);
        assert_eq!(both(&writer), (0, 2));
        // Age removes no event of an open stream.
        oldest(&mut writer, NOON + YEAR);
        assert_eq!((both(&writer), left(&writer, "other")), ((0, 2), 0));
        assert_eq!(
            (writer.state.events, writer.state.carried.expires()),
            (2, u64::MAX)
        );
    }

    #[test]
    fn a_full_disk_refuses_whole_batches_and_accepts_them_once_it_has_room() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        let pages: i64 = writer
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        let room = |writer: &SqliteWriter, pages: i64| {
            let set = format!("PRAGMA max_page_count = {pages}");
            let query = writer.connection.query_row(&set, [], |_row| Ok(()));
            query.unwrap();
        };
        room(&writer, pages);
        let mut large = Batch::default();
        for _ in 0..10 {
            large.push("note", None, Pinning::Open(1), |out| {
                out.resize(10_000, b'x');
            });
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
    fn a_clock_set_back_removes_no_event_early_and_keeps_none_for_ever() {
        let folder = Folder::new();
        let mut writer = keeping_ten_hours(&folder);
        append(&mut writer, NOON);
        append(&mut writer, NOON - YEAR);
        assert_eq!(oldest(&mut writer, NOON - YEAR), 1);
        assert_eq!(oldest(&mut writer, NOON - YEAR + 9 * HOUR), 1);
        // The second event was stored eleven hours ago, and the first before it.
        assert_eq!(oldest(&mut writer, NOON - YEAR + 11 * HOUR), 3);
    }

    #[test]
    fn an_open_event_keeps_its_epoch_and_no_later_epoch_without_events() {
        let folder = Folder::new();
        let mut writer = writer(&folder, Retention::default().events(1));
        let mut opened = Batch::default();
        let key = StreamKey::new("open").unwrap();
        opened.push("started", Some(key), Pinning::Open(1), |out| out.push(b'x'));
        let first = Sequence::new(writer.head() + 1);
        writer.append(first, &opened, NOON).unwrap();
        let kept = writer.epochs().next().unwrap().epoch;
        for _ in 0..5 {
            append(&mut writer, NOON);
            append(&mut writer, NOON);
            oldest(&mut writer, NOON);
            begin_epoch(&writer.connection, &mut writer.state).unwrap();
        }
        forget_epochs(&writer.connection, &mut writer.state, 3).unwrap();
        let epochs: Vec<Epoch> = writer.epochs().map(|start| start.epoch).collect();
        assert_eq!((epochs.len(), epochs[0]), (3, kept));
        let stored = load_epochs(&writer.connection).unwrap();
        let stored: Vec<Epoch> = stored.iter().map(|record| record.start.epoch).collect();
        assert_eq!(stored, epochs);
    }
}
