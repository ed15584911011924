//! The queries of readers. They run on the threads of the read pool and on the follower threads.
//!
//! Each query reads one snapshot of the file. Its cost hardly grows with the size of the log.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    ops::Range,
};

use bytes::Bytes;
use rusqlite::{
    Connection, OptionalExtension as _, Row, Rows,
    fallible_streaming_iterator::FallibleStreamingIterator as _, params, types::ValueRef,
};

use crate::{
    log::{
        batch::StoredEvent,
        event::{Pinning, StreamKey},
        retention::EvictedEvents,
    },
    store::{
        PageLimit, StoredStream,
        sqlite::{
            schema::{bytes_of, int, int_of, number},
            state::{load_epochs, unpack},
            stream_ids::find,
        },
    },
    wire::id::Sequence,
};

/// Number of stream keys that a connection caches, as a power of 2.
const CACHED_KEYS_BITS: u32 = 12;

/// A direct-mapped cache of stream keys by number. The key of a number never changes.
#[derive(Debug, Default)]
pub(crate) struct StreamKeyCache(Vec<Option<(i64, StreamKey)>>);

impl StreamKeyCache {
    /// Returns the key of a stream, or `None` if there is none: number 0 stands for no stream, and the file may be
    /// damaged.
    fn get(&mut self, connection: &Connection, stream: i64) -> rusqlite::Result<Option<StreamKey>> {
        if stream == 0 {
            return Ok(None);
        }
        if self.0.is_empty() {
            self.0.resize(1 << CACHED_KEYS_BITS, None);
        }
        // Fibonacci hashing (Knuth, TAOCP 3, section 6.4), so that adjacent numbers do not share a slot.
        let hash = stream.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = self
            .0
            .get_mut((hash >> (u64::BITS - CACHED_KEYS_BITS)) as usize);
        if let Some(Some((known, key))) = slot
            && *known == stream
        {
            return Ok(Some(*key));
        }
        let key = connection
            .prepare_cached("SELECT key FROM stream WHERE first = ?1")?
            .query_row([stream], |row| {
                Ok(StreamKey::new(bytes_of(row.get_ref(0)?)).ok())
            })
            .optional()?
            .flatten();
        if let (Some(slot), Some(key)) = (slot, key) {
            *slot = Some((stream, key));
        }
        Ok(key)
    }
}

/// Builds a page. All its payloads share one allocation.
#[derive(Debug)]
struct PageBuilder {
    limit: PageLimit,
    payloads: Vec<u8>,
    events: Vec<(StoredEvent, Range<usize>)>,
}

impl PageBuilder {
    fn new(limit: PageLimit) -> Self {
        Self {
            limit,
            payloads: Vec::with_capacity(limit.bytes.min(64 * 1024)),
            events: Vec::with_capacity(limit.events.min(256)),
        }
    }

    /// Adds the row `sequence, stream, name, pin, token, payload`. Returns whether the page has room for more. If
    /// another program wrote to the file, a column may hold any value: unreadable values are replaced by empty ones,
    /// and the caller of the store treats an event without a name as damaged.
    fn push_row(
        &mut self,
        connection: &Connection,
        key_cache: &mut StreamKeyCache,
        row: &Row<'_>,
    ) -> rusqlite::Result<bool> {
        let payload = bytes_of(row.get_ref(5)?);
        let start = self.payloads.len();
        let fits =
            self.events.len() < self.limit.events && start + payload.len() <= self.limit.bytes;
        if !fits && !self.events.is_empty() {
            return Ok(false);
        }
        self.payloads.extend_from_slice(payload);
        let stream = int_of(row, 1).unwrap_or(-1);
        let key = key_cache.get(connection, stream)?;
        let name = match row.get_ref(2)? {
            ValueRef::Text(name) if key.is_some() || stream == 0 => String::from_utf8_lossy(name),
            _ => Cow::Borrowed(""),
        };
        let event = StoredEvent {
            sequence: Sequence::new(number(row.get(0)?)),
            name: name.into_owned(),
            key,
            pin: unpack(int_of(row, 3), int_of(row, 4)),
            payload: Bytes::new(),
        };
        self.events.push((event, start..self.payloads.len()));
        Ok(self.events.len() < self.limit.events)
    }

    fn finish(self) -> Vec<StoredEvent> {
        let payloads = Bytes::from(self.payloads);
        self.events
            .into_iter()
            .map(|(event, range)| StoredEvent {
                payload: payloads.slice(range),
                ..event
            })
            .collect()
    }
}

pub(crate) fn after(
    connection: &Connection,
    key_cache: &mut StreamKeyCache,
    after: Sequence,
    limit: PageLimit,
) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, stream, name, pin, token, payload
         FROM event WHERE sequence > ?1 ORDER BY sequence",
    )?;
    let mut rows = statement.query([int(after.get())])?;
    let mut page = PageBuilder::new(limit);
    while let Some(row) = rows.next()? {
        if !page.push_row(connection, key_cache, row)? {
            break;
        }
    }
    Ok(page.finish())
}

/// Merges the streams, each with its own cursor on the index. For each stream, it reads at most one event more than it
/// returns.
pub(crate) fn streams_after(
    connection: &Connection,
    key_cache: &mut StreamKeyCache,
    keys: &[StreamKey],
    after: Sequence,
    limit: PageLimit,
) -> rusqlite::Result<Vec<StoredEvent>> {
    // All cursors read one snapshot. Otherwise the page could miss events that were appended between two cursors.
    let snapshot = connection.unchecked_transaction()?;
    let mut numbers = vec![0];
    for key in keys {
        numbers.extend(find(&snapshot, key)?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let mut walks = Vec::with_capacity(numbers.len());
    for _ in &numbers {
        walks.push(snapshot.prepare_cached(
            "SELECT sequence, stream, name, pin, token, payload
             FROM event WHERE stream = ?1 AND sequence > ?2 ORDER BY sequence",
        )?);
    }
    let mut rows: Vec<Rows<'_>> = Vec::with_capacity(numbers.len());
    for (walk, number) in walks.iter_mut().zip(&numbers) {
        rows.push(walk.query(params![number, int(after.get())])?);
    }
    let mut next = BinaryHeap::with_capacity(rows.len());
    for (place, rows) in rows.iter_mut().enumerate() {
        if let Some(row) = rows.next()? {
            next.push(Reverse((row.get::<_, i64>(0)?, place)));
        }
    }
    let mut page = PageBuilder::new(limit);
    while let Some(Reverse((_, place))) = next.pop() {
        let Some(rows) = rows.get_mut(place) else {
            break;
        };
        if let Some(row) = rows.get()
            && !page.push_row(&snapshot, key_cache, row)?
        {
            break;
        }
        if let Some(row) = rows.next()? {
            next.push(Reverse((row.get::<_, i64>(0)?, place)));
        }
    }
    Ok(page.finish())
}

/// Returns the streams whose first kept event is before a sequence, newest first.
pub(crate) fn streams_before(
    connection: &mut Connection,
    key_cache: &mut StreamKeyCache,
    before: Sequence,
    limit: usize,
) -> rusqlite::Result<Vec<StoredStream>> {
    let snapshot = connection.transaction()?;
    let mut statement = snapshot.prepare_cached(
        "SELECT first, first AS stream FROM stream
         WHERE first < ?1 AND first >= (SELECT oldest FROM state)
         UNION ALL SELECT first, stream FROM shifted WHERE first < ?1
         ORDER BY 1 DESC LIMIT ?2",
    )?;
    let mut last = snapshot.prepare_cached("SELECT max(sequence) FROM event WHERE stream = ?1")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![int(before.get()), limit])?;
    let mut streams = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, stream) = (row.get(0)?, row.get(1)?);
        let last: Option<i64> = last.query_row([stream], |row| row.get(0))?;
        if let Some(key) = key_cache.get(&snapshot, stream)? {
            streams.push(StoredStream {
                key,
                first: Sequence::new(number(first)),
                last: Sequence::new(number(last.unwrap_or(first))),
            });
        }
    }
    Ok(streams)
}

/// Returns how many events retention has deleted from each of these streams, or `None` for a stream that is not in the
/// file or began before the file counted deletions.
pub(crate) fn evicted(
    connection: &mut Connection,
    keys: &[StreamKey],
) -> rusqlite::Result<Vec<Option<EvictedEvents>>> {
    let snapshot = connection.transaction()?;
    let exists = "SELECT 1 FROM sqlite_schema WHERE name = 'evicted'";
    if !snapshot.prepare_cached(exists)?.exists([])? {
        return Ok(vec![None; keys.len()]);
    }
    let mut counts =
        snapshot.prepare_cached("SELECT events, closings FROM evicted WHERE stream = ?1")?;
    let mut count = |stream: i64| {
        let count = |row: &Row<'_>| {
            let count = |column| int_of(row, column).map_or(0, number);
            Ok(EvictedEvents::new(count(0), Some(count(1))))
        };
        counts.query_row([stream], count).optional()
    };
    let counted_since = count(0)?.map_or(0, |since| int(since.events));
    let none = EvictedEvents::new(0, Some(0));
    let mut evicted = Vec::with_capacity(keys.len());
    for key in keys {
        evicted.push(match find(&snapshot, key)? {
            Some(stream) if stream >= counted_since => Some(count(stream)?.unwrap_or(none)),
            _ => None,
        });
    }
    Ok(evicted)
}

/// Returns the global events that are still open: those in the table of open events, and those appended after the table
/// was written.
pub(crate) fn open_global_events(
    connection: &mut Connection,
    key_cache: &mut StreamKeyCache,
) -> rusqlite::Result<Vec<StoredEvent>> {
    let snapshot = connection.transaction()?;
    let epochs = load_epochs(&snapshot)?;
    let mut open: HashMap<(i64, u64), u64> = HashMap::new();
    {
        let mut statement =
            snapshot.prepare_cached("SELECT owner, token, sequence FROM pinned WHERE owner < 0")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let token = row.get::<_, i64>(1)?.cast_unsigned();
            open.insert((row.get(0)?, token), number(row.get(2)?));
        }
        let mut statement = snapshot.prepare_cached(
            "SELECT sequence, pin, token FROM event WHERE stream = 0
             AND sequence > (SELECT checked FROM state) AND pin IS NOT NULL ORDER BY sequence",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sequence = number(row.get(0)?);
            let begun = epochs.partition_point(|record| record.start.first.get() <= sequence);
            let life = epochs.get(begun.saturating_sub(1));
            let owner = life.map_or(-1, |record| -int(record.start.first.get()));
            match unpack(int_of(row, 1), int_of(row, 2)) {
                Pinning::Open(token) => drop(open.insert((owner, token), sequence)),
                Pinning::Close(token) => drop(open.remove(&(owner, token))),
                Pinning::None | Pinning::State(_) => {}
            }
        }
    }
    let mut sequences: Vec<u64> = open.into_values().collect();
    sequences.sort_unstable();
    let mut found = Vec::new();
    for sequence in sequences {
        found.extend(event_at(&snapshot, key_cache, sequence)?);
    }
    Ok(found)
}

/// Returns one event, or `None` if it was removed.
pub(crate) fn event_at(
    connection: &Connection,
    key_cache: &mut StreamKeyCache,
    sequence: u64,
) -> rusqlite::Result<Option<StoredEvent>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, stream, name, pin, token, payload FROM event WHERE sequence = ?1",
    )?;
    let mut rows = statement.query([int(sequence)])?;
    let mut page = PageBuilder::new(PageLimit {
        events: 1,
        bytes: 0,
    });
    if let Some(row) = rows.next()? {
        page.push_row(connection, key_cache, row)?;
    }
    Ok(page.finish().pop())
}

/// Returns the sequence of the newest event ever appended.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Sequence> {
    connection
        .prepare_cached("SELECT head FROM state")?
        .query_row([], |row| row.get(0).map(number).map(Sequence::new))
}

/// Returns the newest sequence of each stream that has an event after its cursor, and of global events.
pub(crate) fn newest_of(
    connection: &mut Connection,
    places: &[(StreamKey, Sequence)],
    every: Sequence,
) -> rusqlite::Result<Vec<(Option<StreamKey>, Sequence)>> {
    let snapshot = connection.transaction()?;
    let newest = |stream: i64, after: Sequence| -> rusqlite::Result<Option<Sequence>> {
        let mut statement =
            snapshot.prepare_cached("SELECT max(sequence) FROM event WHERE stream = ?1")?;
        let newest: Option<i64> = statement.query_row([stream], |row| row.get(0))?;
        let newest = newest.map_or(Sequence::START, |newest| Sequence::new(number(newest)));
        Ok((newest > after).then_some(newest))
    };
    let mut newest_cursors = Vec::new();
    if let Some(newest) = newest(0, every)? {
        newest_cursors.push((None, newest));
    }
    let mut seen = HashSet::with_capacity(places.len());
    for (key, after) in places {
        if let Some(stream) = find(&snapshot, key)?
            && let Some(newest) = newest(stream, *after)?
            && seen.insert(*key)
        {
            newest_cursors.push((Some(*key), newest));
        }
    }
    Ok(newest_cursors)
}
