//! The numbers of streams, for the writer and for queries.
//!
//! The writer caches the keys in use in memory, because a query for each event would halve the rate of appends.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{log::event::StreamKey, store::sqlite::schema::bytes_of};

/// Upper bound on the cached keys, in two generations of half as many each. They use about 6 MiB.
const CACHED_KEYS_MAX: usize = 65_536;
/// Bytes that a stream adds to the file in addition to its key, which is stored twice, in two rows.
const STREAM_BYTES: u64 = 40;

#[derive(Debug, Default)]
pub(crate) struct StreamNumbers {
    recent: HashMap<StreamKey, i64>,
    older: HashMap<StreamKey, i64>,
}

/// A stream's number, and whether this call assigned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamNumber {
    Known(i64),
    New(i64),
}

impl StreamNumbers {
    /// Returns the number of a stream. A new stream is numbered by the sequence of its first event.
    pub(crate) fn number(
        &mut self,
        connection: &Connection,
        key: &StreamKey,
        sequence: i64,
    ) -> rusqlite::Result<StreamNumber> {
        if let Some(number) = self.recent.get(key) {
            return Ok(StreamNumber::Known(*number));
        }
        let found = match self.older.remove(key) {
            Some(number) => Some(number),
            None => find(connection, key)?,
        };
        let stream = if let Some(number) = found {
            StreamNumber::Known(number)
        } else {
            connection
                .prepare_cached("INSERT INTO stream VALUES(?1, ?2)")?
                .execute(params![sequence, key.as_bytes()])?;
            StreamNumber::New(sequence)
        };
        if self.recent.len() >= CACHED_KEYS_MAX / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        let (StreamNumber::Known(number) | StreamNumber::New(number)) = stream;
        self.recent.insert(*key, number);
        Ok(stream)
    }

    /// Removes a stream that has no events left. Returns the bytes that were counted for it.
    pub(crate) fn remove(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<u64> {
        let mut statement =
            connection.prepare_cached("DELETE FROM stream WHERE first = ?1 RETURNING key")?;
        let key = statement.query_row([number], |row| Ok(bytes_of(row.get_ref(0)?).to_vec()));
        // In a damaged file there may be events of a stream that has no row.
        let Some(key) = key.optional()? else {
            return Ok(0);
        };
        if let Ok(key) = StreamKey::new(&key) {
            self.recent.remove(&key);
            self.older.remove(&key);
        }
        Ok(stream_bytes(&key))
    }
}

/// Bytes of a stream that count against the bound on bytes.
pub(crate) fn stream_bytes(key: &[u8]) -> u64 {
    2 * key.len() as u64 + STREAM_BYTES
}

/// Looks up the number of a stream.
pub(crate) fn find(connection: &Connection, key: &StreamKey) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT first FROM stream WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| row.get(0))
        .optional()
}

/// Returns the key of a stream, or `None` if the file has no such stream or its key is damaged.
pub(crate) fn key(connection: &Connection, number: i64) -> rusqlite::Result<Option<StreamKey>> {
    let key = connection
        .prepare_cached("SELECT key FROM stream WHERE first = ?1")?
        .query_row([number], |row| Ok(bytes_of(row.get_ref(0)?).to_vec()))
        .optional()?;
    Ok(key.and_then(|key| StreamKey::new(&key).ok()))
}
