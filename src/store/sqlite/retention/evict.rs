//! Retention keeps the file within its bounds.
//!
//! It deletes the oldest events in bounded steps, except those that are still open or [carried](super::carried), and
//! returns free pages to the file system. Every function runs within the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    log::{
        event::Pinning,
        retention::{EvictedEvents, Retention},
    },
    store::sqlite::{
        carried::{CarriedShare, KeptSize, Verdict},
        open_events::{OpenEvent, PinKey},
        schema::{int, int_of, millis, number},
        state::{EVENT_BYTES, LogState, unpack},
    },
};

/// Largest number of events that one step deletes, which takes about 20 ms.
pub(super) const STEP_EVENTS: u64 = 8_192;
/// A step deletes more than necessary, by a 64th of the bound but at most by this much. So not every batch needs a
/// step.
const SLACK_EVENTS_MAX: u64 = 4_096;
const SLACK_BYTES_MAX: u64 = 1024 * 1024;
/// Number of rows of the table `moment` (commit times) that one step reads. Each row covers a minute or less.
const MOMENTS: i64 = 64;
/// Longest time that one row of `moment` covers, in milliseconds.
const MOMENT_MAX: u64 = 60_000;
/// Free pages are returned to the file system only while there are more than this: 1 MiB.
const FREE_PAGES: i64 = 256;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    events: u64,
    bytes: u64,
    age: u64,
}

impl From<Retention> for Limits {
    fn from(retention: Retention) -> Self {
        Self {
            events: retention.events_max() as u64,
            bytes: retention.bytes_max() as u64,
            age: millis(retention.age_max()),
        }
    }
}

impl Limits {
    /// Returns the share of the bounds that carried events may use.
    fn carried(self) -> CarriedShare {
        CarriedShare::of(self.events, self.bytes)
    }

    /// Returns the share of the bounds that streams kept on request may use.
    pub(crate) fn kept(self) -> KeptSize {
        let divisor = Retention::KEPT_DIVISOR as u64;
        KeptSize {
            events: self.events / divisor,
            bytes: self.bytes / divisor,
        }
    }

    /// Returns whether the number or the bytes of events exceed their bound. Age is checked elsewhere.
    pub(crate) fn is_exceeded(self, state: &LogState) -> bool {
        let evictable = state.events.saturating_sub(state.carried.events());
        state.events > self.events || (state.bytes > self.bytes && evictable > 1)
    }
}

/// Whether another step is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrimProgress {
    Done,
    More,
}

/// The events that a step must delete, beginning at the oldest.
#[derive(Debug)]
struct TrimTarget {
    events: u64,
    bytes: u64,
    /// Events before this sequence are too old.
    before: u64,
    /// When the next events become too old.
    expires: u64,
}

impl TrimTarget {
    fn is_met(&self, state: &LogState) -> bool {
        self.events == 0 && self.bytes == 0 && self.before <= state.oldest
    }
}

struct ScannedEvent {
    sequence: u64,
    stream: i64,
    bytes: u64,
    closes: bool,
    is_carried: bool,
    /// Whether the event is kept, because it is carried or its token is still open.
    stays: bool,
}

/// Records when a batch that begins with `first` was committed. A row of `moment` covers all events up to the next row.
/// They were committed before the end of the row's time span.
pub(crate) fn record_commit_time(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    first: u64,
    now: u64,
) -> rusqlite::Result<()> {
    state.last_write = now;
    let length = (limits.age / 32).min(MOMENT_MAX);
    // If the clock was set back, a new row begins, too: the current row would otherwise last too long.
    let goes_on = state.moment_until.saturating_sub(length)..state.moment_until;
    if !goes_on.contains(&now) {
        state.moment_until = now.saturating_add(length);
        connection
            .prepare_cached("INSERT INTO moment VALUES(?1, ?2)")?
            .execute(params![int(first), int(state.moment_until)])?;
    }
    state.expires = state
        .expires
        .min(state.moment_until.saturating_add(limits.age));
    Ok(())
}

/// Events that retention passes in one step, oldest first.
#[derive(Default)]
struct PassedEvents {
    events: Vec<ScannedEvent>,
    /// The bytes for which room must be made among the carried events before the next event can be passed.
    needs_room: Option<u64>,
}

/// Deletes one step of the events that exceed the bounds or are too old.
pub(crate) fn trim_step(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<TrimProgress> {
    let mut left = STEP_EVENTS;
    loop {
        let target = trim_target(connection, state, limits, now)?;
        let mut scan = if target.is_met(state) {
            PassedEvents::default()
        } else {
            scan(connection, state, limits, &target, left)?
        };
        left = left.saturating_sub(scan.events.len() as u64);
        let is_whole = left > 0 && scan.needs_room.is_none();
        let last = scan.events.last();
        let mut after = last.map_or(state.oldest, |last| last.sequence + 1);
        if is_whole {
            // Also passes sequences without an event.
            after = after.max(target.before.min(state.head + 1));
            state.expires = target.expires;
        }
        if after > state.oldest {
            trim_to(connection, state, limits, &mut scan.events, after)?;
        }
        let carried = evict_carried(connection, state, limits, (now, scan.needs_room), &mut left)?;
        state.expires = state.expires.min(state.carried.expires());
        if is_whole || left == 0 {
            return Ok(if is_whole {
                carried
            } else {
                TrimProgress::More
            });
        }
    }
}

/// Moves `oldest` to `after`, past the scanned events.
fn trim_to(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    scanned: &mut [ScannedEvent],
    after: u64,
) -> rusqlite::Result<()> {
    let before = state.oldest;
    remove(connection, state, scanned, after)?;
    state.oldest = after;
    update_first_events(connection, state, scanned, before)?;
    save_carried(connection, state, limits, scanned)?;
    for place in 0..state.epochs.len() {
        let end = epoch_end(state, place);
        if before < end && end <= after {
            sweep_epoch(connection, state, place)?;
        }
    }
    forget_moments(connection, after)
}

/// Writes the rows of the streams that carry scanned events. `scanned` is sorted by stream.
fn save_carried(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    scanned: &[ScannedEvent],
) -> rusqlite::Result<()> {
    let carried = scanned.iter().filter(|event| event.is_carried);
    let mut streams: Vec<i64> = carried.map(|event| event.stream).collect();
    streams.dedup();
    save_carried_streams(connection, state, limits, &streams)
}

/// Writes the rows of these streams, and notes those of which retention has passed every event.
pub(super) fn save_carried_streams(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    streams: &[i64],
) -> rusqlite::Result<()> {
    let mut committed = connection.prepare_cached(
        "SELECT until FROM moment WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT 1",
    )?;
    let mut last =
        connection.prepare_cached("SELECT max(sequence) FROM event WHERE stream = ?1")?;
    for stream in streams.iter().copied() {
        let newest: Option<i64> = last.query_row([stream], |row| row.get(0))?;
        if !state.open.is_open(stream) && newest.map_or(0, number) < state.oldest {
            let until: Option<i64> = committed.query_row([newest], |row| row.get(0)).optional()?;
            let expires = until.map_or(0, number).saturating_add(limits.age);
            state.carried.ended(stream, expires);
        }
        state.carried.save(connection, stream)?;
    }
    Ok(())
}

/// Deletes carried events of streams that must lose them, at most `left` events.
pub(super) fn evict_carried(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    (now, needs_room): (u64, Option<u64>),
    left: &mut u64,
) -> rusqlite::Result<TrimProgress> {
    let share = limits.carried();
    while let Some(stream) = state.carried.next_to_evict(share, now, needs_room) {
        if *left == 0 {
            return Ok(TrimProgress::More);
        }
        let gone = evict_events(connection, state, stream, *left)?;
        if gone < *left {
            state.carried.forget(stream, state.open.is_open(stream));
        }
        *left -= gone;
        state.carried.save(connection, stream)?;
    }
    Ok(TrimProgress::Done)
}

/// Removes at most `limit` events of a stream from the carried ones, the oldest first, and deletes those that are not
/// open. Returns how many it removed.
fn evict_events(
    connection: &Connection,
    state: &mut LogState,
    stream: i64,
    limit: u64,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, octet_length(name) + octet_length(payload), pin FROM event
         WHERE stream = ?1 AND sequence >= ?2 AND sequence < ?3 ORDER BY sequence LIMIT ?4",
    )?;
    let from = state.carried.from(stream);
    let range = params![stream, int(from), int(state.oldest), int(limit)];
    let mut rows = statement.query(range)?;
    let mut events: Vec<(u64, u64, bool)> = Vec::new();
    while let Some(row) = rows.next()? {
        let closes = matches!(unpack(int_of(row, 2), None), Pinning::Close(_));
        let bytes = number(int_of(row, 1).unwrap_or(0)) + EVENT_BYTES;
        events.push((number(row.get(0)?), bytes, closes));
    }
    drop(rows);
    let (mut gone, mut closings) = (0, 0);
    for (sequence, bytes, closes) in &events {
        state.events = state.events.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(*bytes);
        state.carried.remove(stream, *sequence, *bytes);
        if state.open.keep(*sequence) {
            continue;
        }
        delete(connection, *sequence, *sequence + 1)?;
        forget_first(connection, *sequence)?;
        gone += 1;
        closings += u64::from(*closes);
    }
    let evicted = EvictedEvents::new(gone, Some(closings));
    update_first_event(connection, state, stream, evicted)?;
    if let (Some((first, ..)), Some((last, ..))) = (events.first(), events.last()) {
        let (first, last) = (state.epoch_index(*first), state.epoch_index(*last));
        for place in first.unwrap_or(0)..=last.unwrap_or(0) {
            sweep_epoch(connection, state, place)?;
        }
    }
    Ok(events.len() as u64)
}

fn forget_first(connection: &Connection, sequence: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM shifted WHERE first = ?1")?
        .execute([int(sequence)])?;
    Ok(())
}

fn trim_target(
    connection: &Connection,
    state: &LogState,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<TrimTarget> {
    let excess = |have: u64, max: u64, slack_max: u64| match have.saturating_sub(max) {
        0 => 0,
        over => over + (max / 64).min(slack_max),
    };
    let (before, expires) = if now >= state.expires {
        expired(connection, state, limits, now)?
    } else {
        (0, state.expires)
    };
    Ok(TrimTarget {
        events: excess(state.events, limits.events, SLACK_EVENTS_MAX),
        bytes: excess(state.bytes, limits.bytes, SLACK_BYTES_MAX),
        before,
        expires,
    })
}

/// Returns the first sequence that is not too old, and the earliest time at which an event from there on becomes too
/// old. One call reads a bounded number of rows.
fn expired(
    connection: &Connection,
    state: &LogState,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<(u64, u64)> {
    let mut statement = connection
        .prepare_cached("SELECT sequence, until FROM moment ORDER BY sequence LIMIT ?1")?;
    let mut rows = statement.query([MOMENTS])?;
    let (mut first, mut before, mut seen) = (0, 0, 0);
    // The earliest time at which a row that is not too old expires. Each row that is too old resets it.
    let mut expires = None;
    let mut is_past = false;
    while let Some(row) = rows.next()? {
        first = number(row.get(0)?);
        seen += 1;
        if std::mem::take(&mut is_past) {
            before = first;
        }
        let at = number(row.get(1)?).saturating_add(limits.age);
        is_past = now >= at;
        // All events before one that is too old are too old, even if the clock was ahead when they were committed.
        expires = (!is_past).then(|| expires.map_or(at, |sooner| at.min(sooner)));
    }
    match expires {
        Some(at) => Ok((before, at)),
        // There may be more rows, so the next step follows at once.
        None if seen == MOMENTS => Ok((first, state.expires)),
        None => Ok((state.head + 1, u64::MAX)),
    }
}

/// Returns the events that retention passes next, at most `limit`.
fn scan(
    connection: &Connection,
    state: &LogState,
    limits: Limits,
    target: &TrimTarget,
    limit: u64,
) -> rusqlite::Result<PassedEvents> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, stream, octet_length(name) + octet_length(payload), pin
         FROM event WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = statement.query(params![int(state.oldest), int(limit)])?;
    let mut scan = PassedEvents::default();
    // The events and bytes that are deleted, and those that are carried.
    let (mut gone, mut carried) = ((0, 0), (0, 0));
    while let Some(row) = rows.next()? {
        let mut event = ScannedEvent {
            sequence: number(row.get(0)?),
            stream: int_of(row, 1).unwrap_or(0),
            bytes: number(int_of(row, 2).unwrap_or(0)) + EVENT_BYTES,
            closes: matches!(unpack(int_of(row, 3), None), Pinning::Close(_)),
            is_carried: false,
            stays: false,
        };
        // The newest event is kept even if it is too large.
        let goes = gone.0 < target.events
            || (gone.1 < target.bytes && event.sequence < state.head)
            || event.sequence < target.before;
        if !goes {
            break;
        }
        let of = (event.stream, event.bytes, state.open.is_open(event.stream));
        let sum = match state.carried.verdict(limits.carried(), of, carried) {
            Verdict::MakeRoom => {
                scan.needs_room = Some(event.bytes);
                break;
            }
            Verdict::Carry => {
                event.is_carried = true;
                &mut carried
            }
            Verdict::Evict => &mut gone,
        };
        *sum = (sum.0 + 1, sum.1 + event.bytes);
        scan.events.push(event);
    }
    Ok(scan)
}

/// Deletes the scanned events, in runs between those that are kept because they are open.
fn remove(
    connection: &Connection,
    state: &mut LogState,
    scanned: &mut [ScannedEvent],
    after: u64,
) -> rusqlite::Result<()> {
    let mut start = state.oldest;
    for event in scanned {
        if event.is_carried {
            state.carried.add(event.stream, event.sequence, event.bytes);
            event.stays = true;
        } else {
            state.events = state.events.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(event.bytes);
            event.stays = state.open.keep(event.sequence);
        }
        if event.stays {
            delete(connection, start, event.sequence)?;
            start = event.sequence + 1;
        }
    }
    delete(connection, start, after)
}

/// Deletes the events in `start..end`.
fn delete(connection: &Connection, start: u64, end: u64) -> rusqlite::Result<()> {
    if start < end {
        connection
            .prepare_cached("DELETE FROM event WHERE sequence >= ?1 AND sequence < ?2")?
            .execute(params![int(start), int(end)])?;
    }
    Ok(())
}

/// Finds the first kept event of every stream that lost events, and counts the lost ones.
fn update_first_events(
    connection: &Connection,
    state: &mut LogState,
    scanned: &mut [ScannedEvent],
    before: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM shifted WHERE first >= ?1 AND first < ?2")?
        .execute(params![int(before), int(state.oldest)])?;
    scanned.sort_unstable_by_key(|event| event.stream);
    for events in scanned.chunk_by(|one, other| one.stream == other.stream) {
        let Some(stream) = events.first().map(|event| event.stream) else {
            continue;
        };
        let gone = || events.iter().filter(|event| !event.stays);
        let closings = gone().filter(|event| event.closes).count() as u64;
        let evicted = EvictedEvents::new(gone().count() as u64, Some(closings));
        update_first_event(connection, state, stream, evicted)?;
    }
    Ok(())
}

/// Records the first kept event of a stream that lost these events, and adds them to its count. Forgets the stream if
/// no event is left.
fn update_first_event(
    connection: &Connection,
    state: &mut LogState,
    stream: i64,
    evicted: EvictedEvents,
) -> rusqlite::Result<()> {
    if stream == 0 {
        return Ok(());
    }
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(sequence) FROM event WHERE stream = ?1")?
        .query_row([stream], |row| row.get(0))?;
    if let Some(first) = first {
        connection
            .prepare_cached("INSERT OR REPLACE INTO shifted VALUES(?1, ?2)")?
            .execute([first, stream])?;
        let closings = evicted.closings.unwrap_or(0);
        connection
            .prepare_cached(
                "INSERT INTO evicted VALUES(?1, ?2, ?3) ON CONFLICT(stream) DO UPDATE
                 SET events = events + excluded.events, closings = closings + excluded.closings",
            )?
            .execute([stream, int(evicted.events), int(closings)])?;
    } else {
        state.carried.closed(stream);
        let bytes = state.streams.remove(connection, stream)?;
        state.bytes = state.bytes.saturating_sub(bytes);
        connection
            .prepare_cached("DELETE FROM evicted WHERE stream = ?1")?
            .execute([stream])?;
    }
    Ok(())
}

/// Deletes an opening event that was kept beyond retention and is now closed.
pub(crate) fn release_closed(
    connection: &Connection,
    state: &mut LogState,
    key: PinKey,
    opened: OpenEvent,
) -> rusqlite::Result<()> {
    // Retention has not passed the event yet, or the event is carried and is deleted with its stream.
    if !opened.is_kept {
        return Ok(());
    }
    delete(connection, opened.sequence, opened.sequence + 1)?;
    if key.owner > 0 {
        forget_first(connection, opened.sequence)?;
        let evicted = EvictedEvents::new(1, Some(0));
        update_first_event(connection, state, key.owner, evicted)?;
    }
    match state.epoch_index(opened.sequence) {
        Some(place) => sweep_epoch(connection, state, place),
        None => Ok(()),
    }
}

/// Deletes the global events of a past epoch when no other event of that epoch is left.
fn sweep_epoch(
    connection: &Connection,
    state: &mut LogState,
    place: usize,
) -> rusqlite::Result<()> {
    let Some(epoch) = state.epochs.get(place) else {
        return Ok(());
    };
    let (first, end) = (epoch.start.first.get(), epoch_end(state, place));
    if end > state.oldest || has_stream_events(connection, first, end)? {
        return Ok(());
    }
    let left: Vec<(u64, PinKey)> = state.open.within(first, end).collect();
    for (sequence, key) in left {
        state.open.close(key);
        delete(connection, sequence, sequence + 1)?;
    }
    Ok(())
}

/// Returns whether the file has events of single streams in `first..end`.
pub(crate) fn has_stream_events(
    connection: &Connection,
    first: u64,
    end: u64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM event WHERE sequence >= ?1 AND sequence < ?2 AND stream <> 0 LIMIT 1",
        )?
        .exists(params![int(first), int(end)])
}

/// Returns the sequence that follows the last one of this epoch. For the current epoch, returns the maximum.
fn epoch_end(state: &LogState, place: usize) -> u64 {
    state
        .epochs
        .get(place + 1)
        .map_or(u64::MAX, |next| next.start.first.get())
}

/// Deletes the rows of `moment` whose events are all deleted.
fn forget_moments(connection: &Connection, oldest: u64) -> rusqlite::Result<()> {
    let current: Option<i64> = connection
        .prepare_cached(
            "SELECT sequence FROM moment WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row([int(oldest)], |row| row.get(0))
        .optional()?;
    if let Some(current) = current {
        connection
            .prepare_cached("DELETE FROM moment WHERE sequence < ?1")?
            .execute([current])?;
    }
    Ok(())
}

/// Returns whether the file has so many free pages that some should be returned to the file system. Some pages stay
/// free for new events, so that a log at its bound does not free and allocate the same pages repeatedly.
pub(crate) fn has_spare_pages(connection: &Connection) -> rusqlite::Result<bool> {
    let count = |pragma| {
        let mut statement = connection.prepare_cached(pragma)?;
        statement.query_row([], |row| row.get::<_, i64>(0))
    };
    let free = count("PRAGMA freelist_count")?;
    Ok(free > FREE_PAGES && free * 8 > count("PRAGMA page_count")?)
}

/// Returns up to 256 free pages to the file system.
pub(crate) fn vacuum_step(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("PRAGMA incremental_vacuum(256)")?;
    let mut rows = statement.query([])?;
    // Stepping to a row frees one page.
    while rows.next()?.is_some() {}
    Ok(())
}
