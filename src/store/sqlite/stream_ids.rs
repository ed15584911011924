//! Streams by number. The names are looked up in memory while they are in use, because to ask the file for each event
//! halves what it can take.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::log::event::StreamKey;

/// Names in memory: two generations of half as many each, some 6 MiB.
const NAMES_MAX: usize = 65_536;
/// What a stream adds to the file: its name twice, and the two rows around them.
const STREAM_BYTES: u64 = 40;

#[derive(Debug, Default)]
pub(crate) struct Streams {
    recent: HashMap<StreamKey, i64>,
    older: HashMap<StreamKey, i64>,
}

/// A stream's number, and whether it was given just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Known(i64),
    New(i64),
}

impl Streams {
    /// Returns the number of a stream, or gives it that of the event it begins with.
    pub(crate) fn number(
        &mut self,
        connection: &Connection,
        key: &StreamKey,
        sequence: i64,
    ) -> rusqlite::Result<Stream> {
        if let Some(number) = self.recent.get(key) {
            return Ok(Stream::Known(*number));
        }
        let found = match self.older.remove(key) {
            Some(number) => Some(number),
            None => find(connection, key)?,
        };
        let stream = if let Some(number) = found {
            Stream::Known(number)
        } else {
            connection
                .prepare_cached("INSERT INTO stream VALUES(?1, ?2)")?
                .execute(params![sequence, key.as_bytes()])?;
            Stream::New(sequence)
        };
        if self.recent.len() >= NAMES_MAX / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        let (Stream::Known(number) | Stream::New(number)) = stream;
        self.recent.insert(*key, number);
        Ok(stream)
    }

    /// Removes a stream that has no event any more, and returns the bytes that it stood for.
    pub(crate) fn remove(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<u64> {
        let mut statement =
            connection.prepare_cached("DELETE FROM stream WHERE first = ?1 RETURNING key")?;
        let key: Vec<u8> = statement.query_row([number], |row| row.get(0))?;
        if let Ok(key) = StreamKey::new(&key) {
            self.recent.remove(&key);
            self.older.remove(&key);
        }
        Ok(weight(&key))
    }
}

/// What a stream counts against the bound on bytes.
pub(crate) fn weight(key: &[u8]) -> u64 {
    2 * key.len() as u64 + STREAM_BYTES
}

pub(crate) fn find(connection: &Connection, key: &StreamKey) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT first FROM stream WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| row.get(0))
        .optional()
}
