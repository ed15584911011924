//! Streams that are kept on request. They are carried beyond retention, within their own share of the bounds. Every
//! function runs within the writer's transaction.

use rusqlite::Connection;

use crate::{
    log::{
        event::StreamKey,
        retention::{KeepError, Retention},
    },
    store::sqlite::{
        carried::KeptSize,
        retention::evict::{Limits, STEP_EVENTS, evict_carried, save_carried_streams},
        schema::{int_of, number},
        state::{EVENT_BYTES, LogState},
        stream_ids,
    },
};

/// Keeps a stream on request.
pub(crate) fn keep(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    key: &StreamKey,
) -> rusqlite::Result<Result<(), KeepError>> {
    let Some(stream) = stream_ids::find(connection, key)? else {
        return Ok(Err(KeepError::Unknown));
    };
    if state.carried.is_kept(stream) {
        return Ok(Ok(()));
    }
    if state.carried.kept().count() >= Retention::KEPT_STREAMS_MAX {
        return Ok(Err(KeepError::TooMany));
    }
    while state.carried.is_leaving(stream) {
        let mut left = STEP_EVENTS;
        evict_carried(connection, state, limits, (0, None), &mut left)?;
    }
    let size = size_of(connection, stream, limits.kept())?;
    if size.events == 0 {
        return Ok(Err(KeepError::Unknown));
    }
    if !state.carried.kept_size().plus(size).fits(limits.kept()) {
        return Ok(Err(KeepError::TooLarge));
    }
    state.carried.keep(stream, size);
    state.carried.save_kept(connection)?;
    state.carried.save(connection, stream)?;
    Ok(Ok(()))
}

/// Returns the size of a stream's events. Stops reading once the size exceeds `max`.
fn size_of(connection: &Connection, stream: i64, max: KeptSize) -> rusqlite::Result<KeptSize> {
    let mut size = KeptSize::default();
    let mut statement = connection.prepare_cached(
        "SELECT octet_length(name) + octet_length(payload) FROM event WHERE stream = ?1",
    )?;
    let mut rows = statement.query([stream])?;
    while size.fits(max)
        && let Some(row) = rows.next()?
    {
        let bytes = number(int_of(row, 0).unwrap_or(0)) + EVENT_BYTES;
        size = size.plus(KeptSize { events: 1, bytes });
    }
    Ok(size)
}

/// Stops keeping a stream. Returns whether it was kept.
pub(crate) fn stop_keeping(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
    stream: i64,
) -> rusqlite::Result<bool> {
    if !state.carried.is_kept(stream) {
        return Ok(false);
    }
    state.carried.stop_keeping(stream);
    connection
        .prepare_cached("DELETE FROM kept WHERE stream = ?1")?
        .execute([stream])?;
    save_carried_streams(connection, state, limits, &[stream])?;
    state.expires = state.expires.min(state.carried.expires());
    Ok(true)
}

/// Writes the sizes of the kept streams, and stops keeping the largest while they need more than their share.
pub(crate) fn save_kept(
    connection: &Connection,
    state: &mut LogState,
    limits: Limits,
) -> rusqlite::Result<()> {
    while let Some(stream) = state.carried.outgrown(limits.kept()) {
        stop_keeping(connection, state, limits, stream)?;
    }
    state.carried.save_kept(connection)
}
