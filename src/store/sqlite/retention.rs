//! Retention: takes the oldest events out of the file in bounded steps, except those that are still open, and gives
//! pages back. Every function runs within the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    log::retention::Retention,
    store::sqlite::{
        convert::{int, millis, number},
        open_events::{Opened, PinKey},
        state::{Books, EVENT_BYTES},
    },
};

/// Events that one step takes at most: some 20 ms.
const STEP_EVENTS: u64 = 8_192;
/// What a step takes beyond what it must, so that not every batch takes one: a 64th of the bound, at most so much.
const SLACK_EVENTS_MAX: u64 = 4_096;
const SLACK_BYTES_MAX: u64 = 1024 * 1024;
/// Moments looked at in one step; each is a minute, or less.
const MOMENTS: i64 = 64;
/// How long one moment is at most.
const MOMENT_MAX: u64 = 60_000;
/// Free pages that are always left for what comes: 1 MiB.
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
    /// Whether there is more than there may be; age is another matter.
    pub(crate) fn is_exceeded(self, books: &Books) -> bool {
        books.events > self.events || (books.bytes > self.bytes && books.events > 1)
    }
}

/// Whether another step has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    More,
}

/// What a step has to take, from the oldest event on.
#[derive(Debug)]
struct Goal {
    events: u64,
    bytes: u64,
    /// Events before this are too old.
    before: u64,
    /// When the next ones will be.
    expires: u64,
}

impl Goal {
    fn is_met(&self, books: &Books) -> bool {
        self.events == 0 && self.bytes == 0 && self.before <= books.oldest
    }
}

struct Passed {
    sequence: u64,
    stream: i64,
    bytes: u64,
}

/// Notes when the events of a batch, which begin with `first`, were committed. A moment stands for all events up to
/// the next one: they were committed before it was over.
pub(crate) fn note_moment(
    connection: &Connection,
    books: &mut Books,
    limits: Limits,
    first: u64,
    now: u64,
) -> rusqlite::Result<()> {
    books.heard = now;
    let length = (limits.age / 32).min(MOMENT_MAX);
    // A clock that was set back opens a moment, too: the other one would last too long.
    let goes_on = books.moment_until.saturating_sub(length)..books.moment_until;
    if !goes_on.contains(&now) {
        books.moment_until = now.saturating_add(length);
        connection
            .prepare_cached("INSERT INTO moment VALUES(?1, ?2)")?
            .execute(params![int(first), int(books.moment_until)])?;
    }
    books.expires = books
        .expires
        .min(books.moment_until.saturating_add(limits.age));
    Ok(())
}

/// Takes what is too much or too old, one step of it.
pub(crate) fn step(
    connection: &Connection,
    books: &mut Books,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<Progress> {
    let goal = goal(connection, books, limits, now)?;
    let passed = if goal.is_met(books) {
        Vec::new()
    } else {
        scan(connection, books, &goal)?
    };
    let full = passed.len() as u64 >= STEP_EVENTS;
    let mut after = passed.last().map_or(books.oldest, |last| last.sequence + 1);
    if !full {
        // Numbers that no event has are passed, too.
        after = after.max(goal.before.min(books.head + 1));
        books.expires = goal.expires;
    }
    if after > books.oldest {
        pass(connection, books, &passed, after)?;
    }
    Ok(if full { Progress::More } else { Progress::Done })
}

/// Moves `oldest` on to `after`, over these events.
fn pass(
    connection: &Connection,
    books: &mut Books,
    passed: &[Passed],
    after: u64,
) -> rusqlite::Result<()> {
    let before = books.oldest;
    remove(connection, books, passed, after)?;
    books.oldest = after;
    settle_streams(connection, books, passed, before)?;
    for place in 0..books.lives.len() {
        let end = life_end(books, place);
        if before < end && end <= after {
            sweep_life(connection, books, place)?;
        }
    }
    forget_moments(connection, after)
}

fn goal(
    connection: &Connection,
    books: &Books,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<Goal> {
    let excess = |have: u64, max: u64, slack_max: u64| match have.saturating_sub(max) {
        0 => 0,
        over => over + (max / 64).min(slack_max),
    };
    let (before, expires) = if now >= books.expires {
        expired(connection, books, limits, now)?
    } else {
        (0, books.expires)
    };
    Ok(Goal {
        events: excess(books.events, limits.events, SLACK_EVENTS_MAX),
        bytes: excess(books.bytes, limits.bytes, SLACK_BYTES_MAX),
        before,
        expires,
    })
}

/// The first sequence that is not too old, as far as one step looks, and when it will be.
fn expired(
    connection: &Connection,
    books: &Books,
    limits: Limits,
    now: u64,
) -> rusqlite::Result<(u64, u64)> {
    let mut statement = connection
        .prepare_cached("SELECT sequence, until FROM moment ORDER BY sequence LIMIT ?1")?;
    let mut rows = statement.query([MOMENTS])?;
    let (mut first, mut before, mut seen) = (0, 0, 0);
    // When the first of those expires that are not too old; none of them before one that is.
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
        // What was committed before something too old is too old itself, though its clock was ahead and set back since.
        expires = (!is_past).then(|| expires.map_or(at, |sooner| at.min(sooner)));
    }
    match expires {
        Some(at) => Ok((before, at)),
        // There may be more: at once.
        None if seen == MOMENTS => Ok((first, books.expires)),
        None => Ok((books.head + 1, u64::MAX)),
    }
}

fn scan(connection: &Connection, books: &Books, goal: &Goal) -> rusqlite::Result<Vec<Passed>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, stream, octet_length(name) + octet_length(payload)
         FROM event WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = statement.query(params![int(books.oldest), int(STEP_EVENTS)])?;
    let mut passed: Vec<Passed> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let event = Passed {
            sequence: number(row.get(0)?),
            stream: row.get(1)?,
            bytes: number(row.get(2)?) + EVENT_BYTES,
        };
        // The newest event is kept even when it is too large.
        let goes = (passed.len() as u64) < goal.events
            || (bytes < goal.bytes && event.sequence < books.head)
            || event.sequence < goal.before;
        if !goes {
            break;
        }
        bytes += event.bytes;
        passed.push(event);
    }
    Ok(passed)
}

/// Deletes what retention passes, in runs between the events that stay because they are open.
fn remove(
    connection: &Connection,
    books: &mut Books,
    passed: &[Passed],
    after: u64,
) -> rusqlite::Result<()> {
    let mut start = books.oldest;
    for event in passed {
        books.events = books.events.saturating_sub(1);
        books.bytes = books.bytes.saturating_sub(event.bytes);
        if books.open.keep(event.sequence) {
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

/// Finds the first kept event of every stream that lost one.
fn settle_streams(
    connection: &Connection,
    books: &mut Books,
    passed: &[Passed],
    before: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM shifted WHERE first >= ?1 AND first < ?2")?
        .execute(params![int(before), int(books.oldest)])?;
    let mut streams: Vec<i64> = passed.iter().map(|event| event.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        settle_stream(connection, books, stream)?;
    }
    Ok(())
}

fn settle_stream(connection: &Connection, books: &mut Books, stream: i64) -> rusqlite::Result<()> {
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
    } else {
        let bytes = books.streams.remove(connection, stream)?;
        books.bytes = books.bytes.saturating_sub(bytes);
    }
    Ok(())
}

/// Lets go of an opening event that was kept beyond retention and is open no more.
pub(crate) fn release(
    connection: &Connection,
    books: &mut Books,
    key: PinKey,
    opened: Opened,
) -> rusqlite::Result<()> {
    if opened.sequence >= books.oldest {
        return Ok(());
    }
    delete(connection, opened.sequence, opened.sequence + 1)?;
    if key.owner > 0 {
        connection
            .prepare_cached("DELETE FROM shifted WHERE first = ?1")?
            .execute([int(opened.sequence)])?;
        settle_stream(connection, books, key.owner)?;
    }
    match books.life_index(opened.sequence) {
        Some(place) => sweep_life(connection, books, place),
        None => Ok(()),
    }
}

/// Lets go of what belongs to every stream in a life that is over, when nothing else is left of that life.
fn sweep_life(connection: &Connection, books: &mut Books, place: usize) -> rusqlite::Result<()> {
    let Some(past) = books.lives.get(place) else {
        return Ok(());
    };
    let (first, end) = (past.life.first.get(), life_end(books, place));
    let in_use = end > books.oldest || books.open.within(first, end).any(|(_, key)| key.owner > 0);
    if in_use {
        return Ok(());
    }
    let left: Vec<(u64, PinKey)> = books.open.within(first, end).collect();
    for (sequence, key) in left {
        books.open.close(key, books.oldest);
        delete(connection, sequence, sequence + 1)?;
    }
    Ok(())
}

/// The number after the last of this life; the current one has no end.
fn life_end(books: &Books, place: usize) -> u64 {
    books
        .lives
        .get(place + 1)
        .map_or(u64::MAX, |next| next.life.first.get())
}

/// Forgets the moments whose events are all gone.
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

/// Whether so much of the file is free that some of it should go back to the file system. What is left free is used
/// for what comes, so that a log at its bound does not move its pages for nothing.
pub(crate) fn has_spare_pages(connection: &Connection) -> rusqlite::Result<bool> {
    let count = |pragma| {
        let mut statement = connection.prepare_cached(pragma)?;
        statement.query_row([], |row| row.get::<_, i64>(0))
    };
    let free = count("PRAGMA freelist_count")?;
    Ok(free > FREE_PAGES && free * 8 > count("PRAGMA page_count")?)
}

/// Gives a bounded number of free pages back.
pub(crate) fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("PRAGMA incremental_vacuum(256)")?;
    let mut rows = statement.query([])?;
    // Each row that is asked for frees one page.
    while rows.next()?.is_some() {}
    Ok(())
}
