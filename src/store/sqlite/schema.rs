//! The file: its tables, how values stand in their columns, the settings of a connection, and every message about a
//! file that cannot be used.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Error;

/// Stands in the header of every file of ours: `livs`.
const APPLICATION_ID: i64 = 0x6c69_7673;
const FOREIGN: &str = "it is the database of another program";
/// The header of a database file, <https://www.sqlite.org/fileformat.html#the_database_header>: what it begins with, and
/// where the schema's version and the application stand in it.
const HEADER_SIZE: u64 = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const SCHEMA_COOKIE_AT: usize = 40;
const APPLICATION_AT: usize = 68;
/// The tables below. A file with a higher number is of a later livespan.
const FORMAT: i64 = 1;
/// How long a statement waits for another connection: nobody but a foreign program ever makes one wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Enough for every statement of the store.
const STATEMENTS: usize = 64;

// A stream's number is the sequence of its first event ever: no counter, new streams at the right edge of the index,
// and the list of streams in the order of their first events without another index. `shifted` has the first kept event
// of the streams whose first one is gone or stands below `oldest`.
//
// What stands in `event` below `state.oldest` are opening events of what is still open. `pinned` names all open ones as
// of `state.checked`; what came after is read from the events themselves.
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

// Events that must be kept only once. A log of before there were such ones gets the index when it is opened.
const ONCE: &str = "CREATE INDEX IF NOT EXISTS event_once ON event(stream, token) WHERE pin >= 3;";

/// What a commit waits for.
///
/// No setting loses anything to a crash of the process, `kill -9` included: what an append returned is with the
/// operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// Each commit waits until the disk has it: a power cut loses nothing that a reader was sent.
    #[default]
    Full,
    /// The disk is waited for only when SQLite moves its write-ahead log into the database: a power cut loses the
    /// newest events, those of the last seconds under load and more on a quiet log; the file stays sound.
    Normal,
    /// The disk is never waited for: a power cut may damage the file.
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

// SQLite's integers are signed. Ours stay far below the sign bit, so a value out of range means a damaged file: it is
// clamped, and never panics.

/// Encodes a number for a column.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Decodes a number from a column.
pub(crate) fn number(int: i64) -> u64 {
    u64::try_from(int).unwrap_or(0)
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

/// Finds the file that the path names, so that two names of one file meet at one lock.
pub(crate) fn locate(path: &Path) -> Result<PathBuf, Error> {
    let Some(name) = path.file_name() else {
        return Err(refused(path, "it names no file"));
    };
    let folder = match path.parent() {
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
    let file = folder.join(name);
    match fs::metadata(&file) {
        Ok(found) if found.is_dir() => Err(refused(path, "it is a directory")),
        Ok(_) => fs::canonicalize(&file).map_err(|error| unusable(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(file),
        Err(error) => Err(unusable(path, error)),
    }
}

/// Refuses what is plainly no log of ours by its first bytes, before anything is made beside it. What this lets pass,
/// the database itself may still refuse.
pub(crate) fn check_header(path: &Path) -> Result<(), Error> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER_SIZE).read_to_end(&mut header));
    if read.is_err() || header.is_empty() {
        // There is none yet, or what is wrong with it is said when it is opened.
        return Ok(());
    }
    if !header.starts_with(MAGIC) {
        return Err(refused(path, "it is not an SQLite database"));
    }
    let word = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|word| word.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    let application = i64::from(word(APPLICATION_AT));
    // A log whose first transaction is still beside the file has neither.
    if application != APPLICATION_ID && (application, word(SCHEMA_COOKIE_AT)) != (0, 0) {
        return Err(refused(path, FOREIGN));
    }
    Ok(())
}

/// Opens the file for writing, and makes it when there is none.
pub(crate) fn connect_writer(path: &Path, synchronous: Synchronous) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags)?;
    let kind = kind_of(&connection).map_err(|error| describe(path, error))?;
    if let Some(reason) = kind.refusal() {
        return Err(refused(path, reason));
    }
    prepare(&connection, synchronous, kind == FileKind::Empty)
        .map_err(|error| describe(path, error))?;
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
    Ours,
    Later(i64),
    Foreign,
}

impl FileKind {
    fn refusal(self) -> Option<String> {
        match self {
            Self::Empty | Self::Ours => None,
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
        (APPLICATION_ID, FORMAT) => FileKind::Ours,
        (APPLICATION_ID, later) if later > FORMAT => FileKind::Later(later),
        _ => FileKind::Foreign,
    })
}

fn prepare(
    connection: &Connection,
    synchronous: Synchronous,
    is_new: bool,
) -> rusqlite::Result<()> {
    // The first has no effect once the second has written the file's header.
    connection.execute_batch("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;")?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous={}; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864;
         PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;",
        synchronous.word()
    ))?;
    if is_new {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION_ID};
             PRAGMA user_version={FORMAT}; COMMIT;"
        ))?;
    }
    connection.execute_batch(ONCE)
}

/// An error for a file that cannot be used for a reason of our own.
pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::store(action(path), reason.into())
}

pub(crate) fn unusable(path: &Path, error: io::Error) -> Error {
    Error::store(action(path), error)
}

fn action(path: &Path) -> String {
    format!("open the event log {}", path.display())
}

/// What SQLite says at opening, in words that say what to do where it is terse.
pub(crate) fn describe(path: &Path, error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is not an SQLite database",
        Some(ErrorCode::DatabaseCorrupt) => "the database in it is damaged",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it"
        }
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::ReadOnly) => "it cannot be written to, it or its directory is read-only",
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "it, its directory, or a file beside it cannot be opened or made"
        }
        _ => return Error::store(action(path), error),
    };
    Error::store(action(path), Error::store(reason, error))
}
