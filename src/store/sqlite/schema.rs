//! The tables, the encoding of values in columns, the migration of older files, and the settings of connections.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

use crate::{
    error::Error,
    store::sqlite::file::{
        errors::{FOREIGN, describe, refused},
        path::APPLICATION_ID,
    },
};

/// The format of new files, kept in `user_version`. A file with a higher number is from a later livespan.
const FORMAT: i64 = 6;
/// The migrations from format 1 to 2, from 2 to 3, and so on. A released step is never changed. A new format adds a
/// step, and `TABLES` stays in format 1.
const MIGRATIONS: [&str; 5] = [
    // An index of the deduplicated events. Some files of format 1 already have it.
    "CREATE INDEX IF NOT EXISTS event_once ON event(stream, token) WHERE pin >= 3;",
    // The number of deleted events of each stream that still has events. The row with stream 0, a number that no stream
    // has, holds the sequence from which on deletions are counted.
    "CREATE TABLE evicted(stream INTEGER PRIMARY KEY, events INTEGER NOT NULL, closings INTEGER NOT NULL);
     INSERT INTO evicted SELECT 0, oldest, 0 FROM state;",
    // The streams that keep events below `oldest` because they were open when retention passed them.
    "CREATE TABLE carried(stream INTEGER PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
         expires INTEGER NOT NULL, gone_before INTEGER NOT NULL);",
    // The streams that are kept on request, with the number and bytes of their events.
    "CREATE TABLE kept(stream INTEGER PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL);",
    // The newest state of each open token as of `state.checked`. `pinned` lists the opening events as of the same
    // sequence.
    "CREATE TABLE pinned_state(owner INTEGER NOT NULL, token INTEGER NOT NULL, sequence INTEGER NOT NULL,
         bytes INTEGER NOT NULL, PRIMARY KEY(owner, token)) WITHOUT ROWID;",
];
/// How long a statement waits for another connection. Such a wait is usually caused by another program.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Size of the statement cache: enough for every statement of the store.
const STATEMENTS: usize = 64;

// A stream's number is the sequence of its first event. A stream whose events were all deleted gets a new number with
// its next event. So no counter is needed, and new streams are added at the right edge of the index. Streams can be
// listed in the order of their first events without another index. `shifted` has the first kept event of the streams
// whose first event was deleted or is below `oldest`.
//
// Rows of `event` below `state.oldest` are opening events that are still open, their states, and events of carried
// streams, among them streams that are kept on request. `pinned` lists all open events as of `state.checked`; later
// ones are read from the events themselves.
const TABLES: &str = "
    CREATE TABLE event(
        sequence INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL,
        name TEXT NOT NULL,
        pin INTEGER,
        token INTEGER,
        payload BLOB NOT NULL
    );
    CREATE INDEX event_by_stream ON event(stream);
    CREATE TABLE stream(first INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
    CREATE TABLE shifted(first INTEGER PRIMARY KEY, stream INTEGER NOT NULL);
    CREATE TABLE pinned(
        owner INTEGER NOT NULL,
        token INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY(owner, token)
    ) WITHOUT ROWID;
    CREATE TABLE moment(sequence INTEGER PRIMARY KEY, until INTEGER NOT NULL);
    CREATE TABLE life(first INTEGER PRIMARY KEY, epoch TEXT NOT NULL, heard INTEGER);
    CREATE TABLE state(
        one INTEGER PRIMARY KEY CHECK(one = 1),
        head INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        events INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        heard INTEGER NOT NULL,
        checked INTEGER NOT NULL
    );
    INSERT INTO state VALUES(1, 0, 1, 0, 0, 0, 0);";

/// Sets whether a commit waits for the disk.
///
/// With every setting, events survive a crash of the process, even `kill -9`: when an append returns, the operating
/// system has its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// Each commit waits for the disk. A power cut loses no event that was stored.
    #[default]
    Full,
    /// Only the move of the write-ahead log into the database waits for the disk. A power cut loses the newest events:
    /// those of the last seconds under load, more on a quiet log. The file stays intact.
    Normal,
    /// No write waits for the disk. A power cut may damage the file.
    Off,
}

impl Synchronous {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}

// SQLite's integers are signed. Ours stay far below the sign bit, so a value out of range means a damaged file. It is
// clamped, and never causes a panic.

/// Encodes a number for a column.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Decodes a number from a column.
pub(crate) fn number(int: i64) -> u64 {
    u64::try_from(int).unwrap_or(0)
}

/// Reads a column of integers. Returns `None` for another value, because another program may have written to the file.
pub(crate) fn int_of(row: &Row<'_>, column: usize) -> Option<i64> {
    row.get_ref(column).ok()?.as_i64().ok()
}

/// Returns the bytes of a column. Returns no bytes if the column holds a number or NULL.
pub(crate) fn bytes_of(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => &[],
    }
}

/// Returns the current time in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

/// Encodes a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Decodes a time in milliseconds since 1970.
pub(crate) fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(UNIX_EPOCH)
}

/// Opens the file for writing, and creates it if it does not exist.
pub(crate) fn connect_writer(path: &Path, synchronous: Synchronous) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags)?;
    let kind = kind_of(&connection).map_err(|error| describe(path, error))?;
    if let Some(reason) = kind.refusal() {
        return Err(refused(path, reason));
    }
    prepare(&connection, synchronous, kind).map_err(|error| describe(path, error))?;
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(|error| describe(path, error))?;
    if mode != "wal" {
        return Err(refused(
            path,
            "its file system cannot share memory between processes, which a write-ahead log needs",
        ));
    }
    Ok(connection)
}

/// Opens the file for reading.
pub(crate) fn connect_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        return Err(refused(path, "there is no such file"));
    }
    let connection = connect(path, flags)?;
    let kind = kind_of(&connection).map_err(|error| describe(path, error))?;
    if kind == FileKind::Empty {
        return Err(refused(path, "no log was ever written to it"));
    }
    if let FileKind::Ours(format) = kind
        && format < FORMAT
    {
        return Err(refused(
            path,
            format!(
                "it has format {format} of an earlier livespan; open it once for writing, \
                 which converts it to format {FORMAT}"
            ),
        ));
    }
    if let Some(reason) = kind.refusal() {
        return Err(refused(path, reason));
    }
    connection
        .execute_batch("PRAGMA cache_size=-4096; PRAGMA temp_store=MEMORY;")
        .map_err(|error| describe(path, error))?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connect = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    connect().map_err(|error| describe(path, error))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Empty,
    /// A file of ours, in this or an earlier format.
    Ours(i64),
    Later(i64),
    Foreign,
}

impl FileKind {
    fn refusal(self) -> Option<String> {
        match self {
            Self::Empty | Self::Ours(_) => None,
            Self::Later(format) => Some(format!(
                "it has format {format} of a later livespan; this one knows format {FORMAT}"
            )),
            Self::Foreign => Some(FOREIGN.to_owned()),
        }
    }
}

fn kind_of(connection: &Connection) -> rusqlite::Result<FileKind> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (number("application_id")?, number("user_version")?) {
        (0, 0) if tables == 0 => FileKind::Empty,
        (APPLICATION_ID, later) if later > FORMAT => FileKind::Later(later),
        (APPLICATION_ID, format @ 1..) => FileKind::Ours(format),
        _ => FileKind::Foreign,
    })
}

fn prepare(
    connection: &Connection,
    synchronous: Synchronous,
    kind: FileKind,
) -> rusqlite::Result<()> {
    // In this order: the first pragma has no effect after the second has written the file's header.
    connection.execute_batch("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;")?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous={}; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864;
         PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;",
        synchronous.word()
    ))?;
    if let FileKind::Ours(format) = kind {
        return migrate(connection, format);
    }
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION_ID};
         PRAGMA user_version=1; COMMIT;"
    ))?;
    migrate(connection, 1)
}

/// Migrates a file of this format to the current one: all steps or none.
fn migrate(connection: &Connection, format: i64) -> rusqlite::Result<()> {
    debug_assert_eq!(i64::try_from(MIGRATIONS.len()), Ok(FORMAT - 1));
    if format == FORMAT {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for (step, _) in MIGRATIONS
        .iter()
        .zip(1..)
        .filter(|(_, from)| *from >= format)
    {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}
