//! The shop's database: SQLite in a temporary directory, several connections, and one span per statement.
//!
//! Queries run on tokio's blocking threads. If a query's caller goes away (a time-out, Ctrl-C), the query is
//! interrupted, and its span is cancelled.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use livespan::LiveFutureExt as _;
use rusqlite::{Connection, InterruptHandle, Params, Row};
use tokio::sync::Semaphore;
use tokio::task::{self, JoinError};
use tracing::{Span, error, field, info_span};

use crate::telemetry::count;

/// Upper bound on concurrent statements. Further statements wait, and their spans show the wait.
const CONNECTIONS_MAX: usize = 8;

/// How long a writer waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An SQL statement, and the name of its spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// A handle to the database. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) enum StoreError {
    Directory(std::io::Error),
    Sql(rusqlite::Error),
    /// The query panicked, or the program is ending.
    Stopped(JoinError),
}

impl Store {
    /// Creates an empty database in a new directory under the system's temporary one.
    pub(crate) fn create() -> Result<Self, StoreError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("livespan-demo-{}-{}", std::process::id(), now.as_nanos());
        let directory = std::env::temp_dir().join(name);
        // Fails if the directory exists, because then it belongs to another program.
        std::fs::create_dir(&directory).map_err(StoreError::Directory)?;
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                idle: Mutex::default(),
                permits,
            }),
        })
    }

    /// Runs `work` on a connection. `statement` names the span and is passed to `work`.
    pub(crate) async fn run<T, F>(&self, statement: Statement, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &'static str) -> rusqlite::Result<T> + Send + 'static,
    {
        let span = info_span!(
            "sqlite",
            otel.name = statement.name,
            otel.kind = "client",
            db.system.name = "sqlite",
            db.query.text = statement.sql,
            db.response.returned_rows = field::Empty,
        );
        // `.live(span)` instead of `.instrument(span)`, because it also marks the span of a dropped
        // query as cancelled.
        self.execute(statement, work).live(span).await
    }

    async fn execute<T, F>(&self, statement: Statement, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &'static str) -> rusqlite::Result<T> + Send + 'static,
    {
        let permits = Arc::clone(&self.shared.permits);
        // The semaphore is never closed. Without the permit, only one more connection would open.
        let permit = permits.acquire_owned().awaiting("connection").await.ok();
        let mut connection = self.shared.connection()?;
        let mut interrupt = InterruptOnDrop(Some(connection.get_interrupt_handle()));
        let span = Span::current();
        let running = task::spawn_blocking(move || {
            let outcome = span.in_scope(|| work(&mut connection, statement.sql));
            (connection, permit, outcome)
        });
        let (connection, permit, outcome) = running.await.map_err(StoreError::Stopped)?;
        interrupt.0 = None;
        self.shared.give_back(connection);
        drop(permit);
        outcome
            .map_err(StoreError::Sql)
            .inspect_err(|error| error!(%error))
    }
}

/// Runs a query inside [`Store::run`], and records the number of its rows on the span.
pub(crate) fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_map(parameters, map)?
        .collect::<rusqlite::Result<Vec<T>>>()?;
    Span::current().record("db.response.returned_rows", count(found.len()));
    Ok(found)
}

impl Shared {
    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.open().map_err(StoreError::Sql),
        }
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(self.directory.join("shop.sqlite"))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // The file is deleted at the end, so its data need not be safe on disk.
        connection.pragma_update(None, "synchronous", "off")?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.idle
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("demo: cannot remove {}: {error}", self.directory.display());
        }
    }
}

/// Interrupts the statement if the future that waits for it is dropped.
struct InterruptOnDrop(Option<InterruptHandle>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "scratch directory: {error}"),
            Self::Sql(error) => write!(f, "database: {error}"),
            Self::Stopped(error) => write!(f, "database: {error}"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Directory(error) => Some(error),
            Self::Sql(error) => Some(error),
            Self::Stopped(error) => Some(error),
        }
    }
}
