//! Looks after open pins: hands the log those of dead writers, and its own that were taken from it. Runs on the log's
//! thread.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::Value;

use crate::store::{
    Abandoned, Tended,
    redis::{
        append::{Writer, begin, millis},
        error::Fault,
        reply::{self, Reply},
        scripts::{RETAKE, TEND},
    },
};

/// How many pins of the dead are handed out in one call, and their bytes.
const PAGE_EVENTS: usize = 1000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How many pins are taken back in one call.
const RETAKE_PINS: usize = 1000;

/// What this process was handed of the dead.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// What was handed out in the last call and in the one before. Two calls later the log has closed what it wanted to.
    latest: Vec<Vec<u8>>,
    earlier: Vec<Vec<u8>>,
    /// Pins that others closed and that are closed here as well: Redis can forget about them.
    known_taken: Vec<Vec<u8>>,
    /// Whether an answer was lost, and with it perhaps pins.
    unheard: bool,
}

impl Claims {
    pub(crate) fn tend(&mut self, writer: &mut Writer) -> Result<Tended, Fault> {
        writer.rest();
        let result = self.ask(writer);
        self.unheard = result.is_err();
        let (abandoned, taken) = result?;
        let (open, closed): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|pin| writer.own.is_open(pin));
        self.known_taken = closed;
        let mut reopened = writer.own.hand_out(&open);
        if writer.view.take_retake() {
            match retake(writer) {
                Ok(lost) => reopened.extend(writer.own.hand_out(&lost)),
                // What is already known is not kept waiting; the rest is asked for again.
                Err(_fault) => writer.view.want_retake(),
            }
        }
        reopened.sort_by_key(|event| event.sequence);
        Ok(Tended {
            abandoned,
            reopened,
        })
    }

    fn ask(&mut self, writer: &mut Writer) -> Result<(Vec<Abandoned>, Vec<Vec<u8>>), Fault> {
        // A batch that waits may close some of them.
        let confirmed: &[Vec<u8>] = if writer.has_failed() {
            &[]
        } else {
            &self.earlier
        };
        let arguments = 5 + confirmed.len() + self.known_taken.len();
        let dead_after = millis(writer.link.settings().dead_after);
        let room = (arguments, 64 * arguments);
        let mut command = begin(&writer.link, &TEND, &writer.id, &writer.view, room);
        command
            .arg(dead_after)
            .arg(PAGE_EVENTS)
            .arg(PAGE_BYTES)
            .arg(if self.unheard { "again" } else { "" })
            .arg(confirmed.len())
            .arg(confirmed)
            .arg(&self.known_taken);
        let mut reply = Reply::read(writer.link.call(&TEND, &command)?)?;
        if reply.number()? > 0 {
            writer.view.want_retake();
        }
        let taken = reply.pins()?;
        let found: Result<Vec<_>, Fault> = reply.list()?.into_iter().map(abandoned).collect();
        let found = found?;
        writer.view.settled(&reply.news)?;
        Ok((self.take(found, writer.has_failed()), taken))
    }

    /// Remembers what is handed out; what was handed out before is not given twice.
    fn take(&mut self, found: Vec<(Vec<u8>, Abandoned)>, waits: bool) -> Vec<Abandoned> {
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

fn abandoned(value: Value) -> Result<(Vec<u8>, Abandoned), Fault> {
    let (event, mut rest) = reply::event(value)?;
    let heard = Duration::from_millis(reply::number(rest.next())?);
    let last_heard = UNIX_EPOCH
        .checked_add(heard)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let pin = reply::bytes(rest.next())?;
    Ok((pin, Abandoned { event, last_heard }))
}

/// Takes back the pins that are still open; returns those that Redis has lost.
fn retake(writer: &mut Writer) -> Result<Vec<Vec<u8>>, Fault> {
    let mut lost = Vec::new();
    for names in writer.own.names().chunks(RETAKE_PINS) {
        let room = (names.len(), 64 * names.len());
        let mut command = begin(&writer.link, &RETAKE, &writer.id, &writer.view, room);
        command.arg(names);
        let mut reply = Reply::read(writer.link.call(&RETAKE, &command)?)?;
        lost.extend(reply.pins()?);
        writer.view.settled(&reply.news)?;
    }
    Ok(lost)
}
