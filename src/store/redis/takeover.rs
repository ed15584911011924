//! Takes over the open events of dead writers.
//!
//! A writer is dead if Redis has not heard of it for `dead_after`, or if it has left; the script `lua/takeover.lua`
//! decides. The events are returned to the log, which ends their spans as lost (`encoder/lost_spans.rs`). This process's
//! own open events that others took over while it was suspended are returned, too. It runs on the log's thread.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::Value;

use crate::store::{
    AbandonedEvent, RecoveredEvents,
    redis::{
        append::{RedisWriter, begin, millis},
        client::{
            error::StoreError,
            reply::{self, Reply},
            scripts::{RECLAIM, TAKEOVER},
        },
    },
};

/// Largest number and bytes of open events that one call takes over.
const PAGE_EVENTS: usize = 1000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Largest number of pins that one call reclaims.
const RECLAIM_PINS: usize = 1000;

/// The open events that this process has taken over. A pin names each of them.
#[derive(Debug, Default)]
pub(crate) struct Takeovers {
    /// Pins that the last call returned, and those of the call before. Two calls later, the log has closed all of them
    /// that it can close.
    latest: Vec<Vec<u8>>,
    earlier: Vec<Vec<u8>>,
    /// Pins that others took over and that are no longer open in this process, so Redis can forget them.
    known_taken: Vec<Vec<u8>>,
    /// Whether a reply was lost, perhaps with pins in it.
    is_reply_lost: bool,
}

impl Takeovers {
    pub(crate) fn recover(
        &mut self,
        writer: &mut RedisWriter,
    ) -> Result<RecoveredEvents, StoreError> {
        writer.wait_for_backoff();
        let result = self.ask(writer);
        self.is_reply_lost = result.is_err();
        let (abandoned, taken) = result?;
        let (open, closed): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|pin| writer.own.is_open(pin));
        self.known_taken = closed;
        let mut reopened = writer.own.take_new(&open);
        if writer.known.take_reclaim_request() {
            match reclaim(writer) {
                Ok(lost) => reopened.extend(writer.own.take_new(&lost)),
                // Returns the events known so far. The rest is requested again.
                Err(_error) => writer.known.request_reclaim(),
            }
        }
        reopened.sort_by_key(|event| event.sequence);
        Ok(RecoveredEvents {
            abandoned,
            reopened,
        })
    }

    fn ask(
        &mut self,
        writer: &mut RedisWriter,
    ) -> Result<(Vec<AbandonedEvent>, Vec<Vec<u8>>), StoreError> {
        // A batch that still has to be appended may close some pins of `earlier`, so none is confirmed before.
        let confirmed: &[Vec<u8>] = if writer.has_failed() {
            &[]
        } else {
            &self.earlier
        };
        let arguments = 5 + confirmed.len() + self.known_taken.len();
        let dead_after = millis(writer.connection.settings().dead_after);
        let room = (arguments, 64 * arguments);
        let mut command = begin(
            &writer.connection,
            &TAKEOVER,
            &writer.id,
            &writer.known,
            room,
        );
        command
            .arg(dead_after)
            .arg(PAGE_EVENTS)
            .arg(PAGE_BYTES)
            .arg(if self.is_reply_lost { "again" } else { "" })
            .arg(confirmed.len())
            .arg(confirmed)
            .arg(&self.known_taken);
        let mut reply = Reply::read(writer.connection.call(&TAKEOVER, &command)?)?;
        if reply.number()? > 0 {
            writer.known.request_reclaim();
        }
        let taken = reply.pins()?;
        let found: Result<Vec<_>, StoreError> = reply.list()?.into_iter().map(abandoned).collect();
        let found = found?;
        writer.known.apply_write_reply(&reply.state)?;
        Ok((self.take(found, writer.has_failed()), taken))
    }

    /// Records the pins that this call returns, without those that an earlier call returned.
    fn take(&mut self, found: Vec<(Vec<u8>, AbandonedEvent)>, waits: bool) -> Vec<AbandonedEvent> {
        if waits {
            self.earlier.append(&mut self.latest);
        } else {
            self.earlier = std::mem::take(&mut self.latest);
        }
        let held: HashSet<Vec<u8>> = self.earlier.iter().cloned().collect();
        let mut abandoned = Vec::new();
        for (pin, event) in found {
            if !held.contains(&pin) {
                abandoned.push(event);
                self.latest.push(pin);
            }
        }
        abandoned
    }
}

fn abandoned(value: Value) -> Result<(Vec<u8>, AbandonedEvent), StoreError> {
    let (event, mut rest) = reply::event(value)?;
    let since_epoch = Duration::from_millis(reply::number(rest.next())?);
    let last_heard = UNIX_EPOCH
        .checked_add(since_epoch)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let pin = reply::bytes(rest.next())?;
    Ok((pin, AbandonedEvent { event, last_heard }))
}

/// Reclaims the pins that are still open. Returns those that Redis has lost.
fn reclaim(writer: &mut RedisWriter) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut lost = Vec::new();
    for names in writer.own.names().chunks(RECLAIM_PINS) {
        let room = (names.len(), 64 * names.len());
        let mut command = begin(
            &writer.connection,
            &RECLAIM,
            &writer.id,
            &writer.known,
            room,
        );
        command.arg(names);
        let mut reply = Reply::read(writer.connection.call(&RECLAIM, &command)?)?;
        lost.extend(reply.pins()?);
        writer.known.apply_write_reply(&reply.state)?;
    }
    Ok(lost)
}
