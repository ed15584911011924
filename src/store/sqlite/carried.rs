//! Carried streams. Retention *passes* an event when it moves the oldest sequence of the log beyond that event. A
//! passed event is deleted, unless it is still open or its stream is carried. A stream that is open when retention
//! passes its events is carried: the file keeps these events. So a running trace keeps its beginning, while ended
//! traces are removed as a whole. The writer uses this module.
//!
//! Streams that are kept on request are carried, too, whether or not they are open. They have a share of the bounds to
//! themselves, and all of their events count towards it. The table `kept` has a row for each.
//!
//! Carried streams are bounded in number, events and bytes. The table `carried` has a row for each. Every change of the
//! stream updates its row, so opening the file need not read the events.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, params};

use crate::{
    log::retention::Retention,
    store::sqlite::schema::{int, number},
};

/// Upper bound on the carried streams.
const STREAMS_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct CarriedStreams {
    streams: HashMap<i64, CarriedRow>,
    events: u64,
    bytes: u64,
    /// The ended streams of which retention has passed every event, each with the time at which it becomes too old.
    ended: BTreeSet<(u64, i64)>,
    /// The stream whose events are being deleted, perhaps in several steps.
    leaving: Option<i64>,
    /// Open streams that lost their carried events. They are not carried again.
    no_longer_carried: HashSet<i64>,
    /// The streams that are kept on request, with the size of all their events.
    kept: HashMap<i64, KeptSize>,
    /// Kept streams that got events since their rows were written.
    grown: HashSet<i64>,
}

/// The number and bytes of a stream's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptSize {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl KeptSize {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
        }
    }

    pub(crate) fn fits(self, max: Self) -> bool {
        self.events <= max.events && self.bytes <= max.bytes
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct CarriedRow {
    events: u64,
    bytes: u64,
    /// When the stream becomes too old, in milliseconds since 1970. It is 0 while the stream is open, or has an event
    /// that retention has not passed.
    expires: u64,
    /// The stream's events before this sequence were deleted, except for opening events that are still open.
    from: u64,
}

/// The share of the log's bounds that carried events may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CarriedShare {
    events: u64,
    bytes: u64,
}

impl CarriedShare {
    pub(crate) fn of(events_max: u64, bytes_max: u64) -> Self {
        let divisor = Retention::CARRIED_DIVISOR as u64;
        Self {
            events: events_max / divisor,
            bytes: bytes_max / divisor,
        }
    }
}

/// The decision about an event that retention passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The event is carried.
    Carry,
    /// The event is deleted, unless it is open.
    Evict,
    /// The event will be carried once another stream has made room for it.
    MakeRoom,
}

impl CarriedStreams {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut set = Self::default();
        let mut statement = connection.prepare_cached(
            "SELECT stream, events, bytes, expires, gone_before FROM carried ORDER BY stream",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = |index| row.get(index).map(number);
            let stream = CarriedRow {
                events: count(1)?,
                bytes: count(2)?,
                expires: count(3)?,
                from: count(4)?,
            };
            let key = row.get(0)?;
            set.put(key, stream);
        }
        let mut statement = connection.prepare_cached("SELECT stream, events, bytes FROM kept")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (events, bytes) = (number(row.get(1)?), number(row.get(2)?));
            set.kept.insert(row.get(0)?, KeptSize { events, bytes });
        }
        let partial = set.streams.iter().filter(|(_, carried)| carried.from > 0);
        let leaving = partial.map(|(stream, _)| *stream);
        set.leaving = leaving.filter(|stream| !set.is_kept(*stream)).max();
        Ok(set)
    }

    fn put(&mut self, stream: i64, carried: CarriedRow) {
        self.take(stream);
        self.events += carried.events;
        self.bytes += carried.bytes;
        if carried.expires > 0 {
            self.ended.insert((carried.expires, stream));
        }
        self.streams.insert(stream, carried);
    }

    fn take(&mut self, stream: i64) -> CarriedRow {
        let Some(before) = self.streams.remove(&stream) else {
            return CarriedRow::default();
        };
        self.events = self.events.saturating_sub(before.events);
        self.bytes = self.bytes.saturating_sub(before.bytes);
        self.ended.remove(&(before.expires, stream));
        before
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn is_kept(&self, stream: i64) -> bool {
        self.kept.contains_key(&stream)
    }

    /// Returns the streams that are kept on request.
    pub(crate) fn kept(&self) -> impl Iterator<Item = i64> {
        self.kept.keys().copied()
    }

    /// Returns the size of all events of the streams that are kept on request.
    pub(crate) fn kept_size(&self) -> KeptSize {
        let sizes = self.kept.values();
        sizes.fold(KeptSize::default(), |sum, size| sum.plus(*size))
    }

    /// Returns whether the stream is losing its carried events.
    pub(crate) fn is_leaving(&self, stream: i64) -> bool {
        self.leaving == Some(stream)
    }

    /// Keeps a stream of this size on request.
    pub(crate) fn keep(&mut self, stream: i64, size: KeptSize) {
        self.opened(stream);
        self.kept.insert(stream, size);
        self.grown.insert(stream);
    }

    /// Stops keeping the stream. If it had lost events before it was kept, it now loses its carried events, unless
    /// another stream is losing its own.
    pub(crate) fn stop_keeping(&mut self, stream: i64) {
        self.kept.remove(&stream);
        self.grown.remove(&stream);
        if self.from(stream) > 0 && self.leaving.is_none() {
            self.leaving = Some(stream);
        }
    }

    /// Counts an event that was appended to a stream, if the stream is kept on request.
    pub(crate) fn appended(&mut self, stream: i64, bytes: u64) {
        if let Some(size) = self.kept.get_mut(&stream) {
            *size = size.plus(KeptSize { events: 1, bytes });
            self.grown.insert(stream);
        }
    }

    /// Returns the largest kept stream if the kept streams have grown beyond their share.
    pub(crate) fn outgrown(&self, kept_max: KeptSize) -> Option<i64> {
        if self.grown.is_empty() || self.kept_size().fits(kept_max) {
            return None;
        }
        let largest = self.kept.iter();
        let largest = largest.max_by_key(|(stream, size)| (size.bytes, **stream));
        largest.map(|(stream, _)| *stream)
    }

    /// Writes the rows of the kept streams that got events.
    pub(crate) fn save_kept(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for stream in self.grown.drain() {
            let size = self.kept.get(&stream).copied().unwrap_or_default();
            connection
                .prepare_cached("INSERT OR REPLACE INTO kept VALUES(?1, ?2, ?3)")?
                .execute(params![stream, int(size.events), int(size.bytes)])?;
        }
        Ok(())
    }

    /// Returns the number and bytes of the carried events of streams that are not kept on request.
    fn shared(&self) -> KeptSize {
        let kept = self.kept.keys().filter_map(|kept| self.streams.get(kept));
        kept.fold(
            KeptSize {
                events: self.events,
                bytes: self.bytes,
            },
            |left, kept| KeptSize {
                events: left.events.saturating_sub(kept.events),
                bytes: left.bytes.saturating_sub(kept.bytes),
            },
        )
    }

    /// Returns whether this event, which retention has passed, is carried.
    pub(crate) fn has(&self, stream: i64, sequence: u64) -> bool {
        let carried = self.streams.get(&stream);
        carried.is_some_and(|carried| sequence >= carried.from)
    }

    /// Returns the first sequence of the stream that is not deleted yet.
    pub(crate) fn from(&self, stream: i64) -> u64 {
        self.streams.get(&stream).map_or(0, |carried| carried.from)
    }

    /// Decides about an event that retention passes. `beside` has the number and bytes of the events that this step
    /// carries but has not added yet.
    pub(crate) fn verdict(
        &self,
        share: CarriedShare,
        (stream, bytes, is_open): (i64, u64, bool),
        beside: (u64, u64),
    ) -> Verdict {
        if self.is_kept(stream) {
            return Verdict::Carry;
        }
        let is_known = self.streams.contains_key(&stream);
        let is_wanted = stream != 0 && (is_open || is_known);
        let is_too_large = share.events == 0 || bytes > share.bytes;
        let is_leaving = self.no_longer_carried.contains(&stream) || self.leaving == Some(stream);
        if !is_wanted || is_too_large || is_leaving {
            return Verdict::Evict;
        }
        let used = self.shared();
        let has_room = used.events + beside.0 < share.events
            && used.bytes + beside.1 + bytes <= share.bytes
            && (is_known || self.streams.len() < STREAMS_MAX);
        if has_room {
            Verdict::Carry
        } else {
            Verdict::MakeRoom
        }
    }

    /// Adds a carried event.
    pub(crate) fn add(&mut self, stream: i64, sequence: u64, bytes: u64) {
        let is_partial = self.no_longer_carried.contains(&stream);
        let mut carried = self.take(stream);
        if carried.events == 0 && is_partial {
            // Only a stream that is kept on request is carried again. Its earlier open events are kept without being
            // carried.
            carried.from = sequence;
        }
        carried.events += 1;
        carried.bytes += bytes;
        carried.expires = 0;
        self.put(stream, carried);
    }

    /// Records that the stream has ended and that retention has passed all its events. It becomes too old at `expires`.
    pub(crate) fn ended(&mut self, stream: i64, expires: u64) {
        if self.is_kept(stream) || !self.streams.contains_key(&stream) {
            return;
        }
        let mut carried = self.take(stream);
        carried.expires = expires.max(1);
        self.put(stream, carried);
    }

    /// Records that the stream is open.
    pub(crate) fn opened(&mut self, stream: i64) {
        if self
            .streams
            .get(&stream)
            .is_some_and(|carried| carried.expires > 0)
        {
            let mut carried = self.take(stream);
            carried.expires = 0;
            self.put(stream, carried);
        }
    }

    /// Records that the stream is no longer open.
    pub(crate) fn closed(&mut self, stream: i64) {
        self.no_longer_carried.remove(&stream);
    }

    /// Records that the stream lost carried events before the file was opened. It is not carried again.
    pub(crate) fn stop_carrying(&mut self, stream: i64) {
        self.no_longer_carried.insert(stream);
    }

    /// Returns when the next ended stream becomes too old.
    pub(crate) fn expires(&self) -> u64 {
        self.ended.first().map_or(u64::MAX, |(expires, _)| *expires)
    }

    /// Returns the stream whose carried events must be deleted now, if there is one. A stream whose deletion has begun
    /// comes first. Next comes an ended stream that is too old by `now`. If the share is exceeded, or has no room for
    /// an event of `needs_room` bytes, the ended stream that expires first is chosen even if it is not too old. Without
    /// an ended stream, the largest stream is chosen. When room is needed, an eighth of the share is freed, so that not
    /// every step must make room.
    pub(crate) fn next_to_evict(
        &mut self,
        share: CarriedShare,
        now: u64,
        needs_room: Option<u64>,
    ) -> Option<i64> {
        let used = self.shared();
        let is_full = |bytes: u64| {
            used.events > share.events - share.events.div_ceil(8)
                || used.bytes > share.bytes - share.bytes.div_ceil(8)
                || used.bytes + bytes > share.bytes
                || self.streams.len() > STREAMS_MAX - STREAMS_MAX / 8
        };
        // The bounds may be lower than when the file was written.
        let is_over = used.events > share.events
            || used.bytes > share.bytes
            || needs_room.is_some_and(is_full);
        let next = match self.ended.first() {
            _ if self.leaving.is_some() => self.leaving,
            Some((expires, stream)) if is_over || *expires <= now => Some(*stream),
            None if is_over => {
                let streams = self.streams.iter();
                let largest = streams
                    .filter(|(stream, _)| !self.is_kept(**stream))
                    .max_by_key(|(stream, carried)| (carried.bytes, **stream));
                largest.map(|(stream, _)| *stream)
            }
            _ => None,
        };
        self.leaving = next;
        next
    }

    /// Removes one event of the stream that is being deleted.
    pub(crate) fn remove(&mut self, stream: i64, sequence: u64, bytes: u64) {
        let mut carried = self.take(stream);
        carried.events = carried.events.saturating_sub(1);
        carried.bytes = carried.bytes.saturating_sub(bytes);
        carried.from = sequence + 1;
        self.put(stream, carried);
    }

    /// Forgets a stream whose carried events were all deleted.
    pub(crate) fn forget(&mut self, stream: i64, is_open: bool) {
        self.take(stream);
        self.leaving = None;
        if is_open {
            self.no_longer_carried.insert(stream);
        }
    }

    /// Writes the row of a stream, or deletes it if the stream is not carried.
    pub(crate) fn save(&self, connection: &Connection, stream: i64) -> rusqlite::Result<()> {
        let Some(carried) = self.streams.get(&stream) else {
            connection
                .prepare_cached("DELETE FROM carried WHERE stream = ?1")?
                .execute([stream])?;
            return Ok(());
        };
        connection
            .prepare_cached("INSERT OR REPLACE INTO carried VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                stream,
                int(carried.events),
                int(carried.bytes),
                int(carried.expires),
                int(carried.from)
            ])?;
        Ok(())
    }
}
