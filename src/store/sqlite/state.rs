//! The state of the log that the writer keeps in memory, so that an append rarely needs a query: counts, epochs, open
//! events, carried streams and numbers of streams.
//!
//! It is read from the file when the log is opened, and again after a failed transaction. That reads the open events,
//! the carried streams, the epochs and the newest few thousand events, regardless of the size of the log.

use rusqlite::{Connection, params, types::FromSqlError};

use crate::{
    log::{
        batch::BatchRecord,
        dedup::KeptEvents,
        event::{Pinning, StreamKey},
    },
    store::{
        EpochStart,
        sqlite::{
            carried::CarriedStreams,
            open_events::{OpenEvent, OpenEvents, PinKey, Replaced},
            schema::{int, int_of, number},
            stream_ids::StreamNumbers,
        },
    },
    wire::id::{Epoch, Sequence},
};

/// Number of events between two writes of the table of open events. Opening rereads at most this many events.
const CHECKPOINT_EVENTS: u64 = 4_096;
/// Bytes that an event counts in addition to its name and payload: the rest of its frame, or of its rows in the file.
pub(crate) const EVENT_BYTES: u64 = 40;

/// An epoch of the log, and the time when its last batch was committed (0 for the current epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochRecord {
    pub(crate) start: EpochStart,
    pub(crate) last_write: u64,
}

#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) head: u64,
    pub(crate) oldest: u64,
    /// Number and bytes of the kept events. Of the events below `oldest`, only carried ones are included. The bytes
    /// include the keys of the streams.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// When the newest batch was committed.
    pub(crate) last_write: u64,
    pub(crate) open: OpenEvents,
    pub(crate) carried: CarriedStreams,
    pub(crate) streams: StreamNumbers,
    /// Oldest first.
    pub(crate) epochs: Vec<EpochRecord>,
    /// A batch that is committed before this time needs no new row in the table `moment`: the newest row covers it.
    pub(crate) moment_until: u64,
    /// No event becomes too old before this time.
    pub(crate) expires: u64,
}

impl LogState {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut state = connection.query_row(
            "SELECT head, oldest, events, bytes, heard, checked FROM state",
            [],
            |row| {
                let count = |index| row.get(index).map(number);
                let (oldest, checked) = (count(1)?, count(5)?);
                let carried = CarriedStreams::load(connection)?;
                let is_carried = |stream, sequence| carried.has(stream, sequence);
                Ok(Self {
                    head: count(0)?,
                    oldest,
                    events: count(2)?,
                    bytes: count(3)?,
                    last_write: count(4)?,
                    open: OpenEvents::load(connection, checked, oldest, is_carried)?,
                    carried,
                    streams: StreamNumbers::default(),
                    epochs: load_epochs(connection)?,
                    moment_until: 0,
                    expires: 0,
                })
            },
        )?;
        state.moment_until = connection
            .query_row(
                "SELECT until FROM moment ORDER BY sequence DESC LIMIT 1",
                [],
                |row| row.get(0).map(number),
            )
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(0),
                other => Err(other),
            })?;
        state.replay_pins(connection)?;
        for stream in state.open.streams() {
            state.carried.opened(stream);
        }
        // If an opening event of a stream is kept on its own, the stream has lost its carried events.
        for stream in state.open.streams_with_kept() {
            state.carried.stop_carrying(stream);
        }
        Ok(state)
    }

    /// Applies the pins of the events that were appended after the table of open events was written.
    fn replay_pins(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT sequence, stream, pin, token, octet_length(name) + octet_length(payload)
             FROM event WHERE sequence > ?1 AND pin IS NOT NULL ORDER BY sequence",
        )?;
        let mut rows = statement.query([int(self.open.checked())])?;
        while let Some(row) = rows.next()? {
            let pin = unpack(int_of(row, 2), int_of(row, 3));
            let bytes = number(int_of(row, 4).unwrap_or(0)) + EVENT_BYTES;
            self.pin(int_of(row, 1).unwrap_or(0), pin, number(row.get(0)?), bytes);
        }
        Ok(())
    }

    /// Records that an event opens or closes a token, or has its state. Returns the events that were kept for the token
    /// and are no longer needed.
    pub(crate) fn pin(&mut self, stream: i64, pin: Pinning, sequence: u64, bytes: u64) -> Replaced {
        let (Pinning::Open(token) | Pinning::Close(token) | Pinning::State(token)) = pin else {
            return Replaced::default();
        };
        let owner = if stream == 0 {
            self.epoch_of(sequence)
                .map_or(-1, |life| -int(life.first.get()))
        } else {
            stream
        };
        let key = PinKey::of(owner, token);
        let event = OpenEvent {
            sequence,
            bytes,
            is_kept: false,
        };
        let gone = match pin {
            Pinning::Open(_) => self.open.open(key, event),
            Pinning::State(_) => self.open.set_state(key, event),
            _ => self.open.close(key),
        };
        if self.open.is_open(owner) {
            self.carried.opened(owner);
        } else {
            self.carried.closed(owner);
        }
        gone
    }

    fn epoch_of(&self, sequence: u64) -> Option<EpochStart> {
        let place = self.epoch_index(sequence)?;
        self.epochs.get(place).map(|record| record.start)
    }

    /// Returns the index of the epoch that issued this sequence.
    pub(crate) fn epoch_index(&self, sequence: u64) -> Option<usize> {
        let begun = self
            .epochs
            .partition_point(|record| record.start.first.get() <= sequence);
        begun.checked_sub(1)
    }

    /// Writes the state to the file, at the end of a transaction.
    pub(crate) fn save(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let checked = self.open.checked();
        // Invariant: the file has every event after `checked`, because `replay_pins` reads them when the log is opened.
        if self.head >= checked + CHECKPOINT_EVENTS || self.oldest > checked + 1 {
            self.open.checkpoint(connection, self.head)?;
        }
        connection
            .prepare_cached(
                "UPDATE state SET head = ?1, oldest = ?2, events = ?3, bytes = ?4, heard = ?5, checked = ?6",
            )?
            .execute(params![
                int(self.head),
                int(self.oldest),
                int(self.events),
                int(self.bytes),
                int(self.last_write),
                int(self.open.checked())
            ])?;
        Ok(())
    }
}

/// Reads the epochs, oldest first.
pub(crate) fn load_epochs(connection: &Connection) -> rusqlite::Result<Vec<EpochRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT first, epoch, heard FROM life ORDER BY first")?;
    let epochs = statement.query_map([], |row| {
        let epoch: String = row.get(1)?;
        let epoch: Epoch = epoch
            .parse()
            .map_err(|error| FromSqlError::Other(Box::new(error)))?;
        Ok(EpochRecord {
            start: EpochStart {
                epoch,
                first: Sequence::new(number(row.get(0)?)),
            },
            last_write: row.get::<_, Option<i64>>(2)?.map_or(0, number),
        })
    })?;
    epochs.collect()
}

// Values of the column `pin`. `ONCE` is added for a deduplicated event; these rows have an index.
const STATE: i64 = 0;
const OPENS: i64 = 1;
const CLOSES: i64 = 2;
const ONCE: i64 = 2;

/// Encodes a pin for the columns `pin` and `token`.
pub(crate) fn pack(record: &BatchRecord<'_>) -> (Option<i64>, Option<i64>) {
    let once = if record.is_deduplicated() { ONCE } else { 0 };
    match record.pin() {
        Pinning::None => (None, None),
        Pinning::Open(token) => (Some(OPENS + once), Some(token.cast_signed())),
        Pinning::Close(token) => (Some(CLOSES + once), Some(token.cast_signed())),
        Pinning::State(token) => (Some(STATE), Some(token.cast_signed())),
    }
}

/// Returns which events of a deduplicated token are kept.
pub(crate) fn deduplication_state(
    connection: &Connection,
    key: &StreamKey,
    token: u64,
) -> rusqlite::Result<KeptEvents> {
    let mut statement = connection.prepare_cached(
        "SELECT pin FROM event WHERE stream = (SELECT first FROM stream WHERE key = ?1)
         AND token = ?2 AND pin >= 3",
    )?;
    let mut rows = statement.query(params![key.as_bytes(), token.cast_signed()])?;
    let mut kept = KeptEvents::default();
    while let Some(row) = rows.next()? {
        if int_of(row, 0) == Some(CLOSES + ONCE) {
            kept.closing = true;
        } else {
            kept.opening = true;
        }
    }
    Ok(kept)
}

/// Decodes a pin from its two columns.
pub(crate) fn unpack(pin: Option<i64>, token: Option<i64>) -> Pinning {
    let token = token.unwrap_or_default().cast_unsigned();
    match pin {
        Some(1 | 3) => Pinning::Open(token),
        Some(2 | 4) => Pinning::Close(token),
        Some(STATE) => Pinning::State(token),
        _ => Pinning::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::Batch;

    #[test]
    fn every_pin_is_decoded_from_its_columns_unchanged() {
        let key = StreamKey::new("a").unwrap();
        for pin in [
            Pinning::None,
            Pinning::Open(0),
            Pinning::Open(u64::MAX),
            Pinning::Close(1 << 63),
            Pinning::State(u64::MAX),
        ] {
            let mut batch = Batch::default();
            batch.push("note", Some(key), pin, |_| {});
            batch.push("note", Some(key), pin, |_| {});
            batch.mark_deduplicated();
            for record in batch.iter() {
                let (kind, token) = pack(&record);
                assert_eq!(unpack(kind, token), pin);
            }
        }
    }
}
