//! The position up to which each log was read. If a program announces itself again, even after its
//! stream has ended, the follower resumes at its position, so no event is stored twice. The
//! positions in logs that are still followed are saved in a file beside the store, for later runs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use livespan::sse::EventId;
use serde::{Deserialize, Serialize};

/// Upper bound on the logs with a stored position. The one that was added first is removed first.
const LOGS_MAX: usize = 4_096;
/// Upper bound on the processes recorded for one log. When the log's process is gone, the follower
/// ends the open spans of the recorded processes.
const PROCESSES_MAX: usize = 4_096;
/// When our log has grown by this many events, the positions are saved even if nothing else has
/// changed.
const EVENTS_BETWEEN_SAVES: u64 = 10_000;

/// The positions in all logs, by their epochs.
#[derive(Debug, Default)]
pub(super) struct Positions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    positions: BTreeMap<String, Position>,
    order: VecDeque<String>,
    /// The epochs that an earlier run read, by address. An entry is removed when its log is
    /// followed again.
    restored: BTreeMap<String, String>,
    /// Whether a change has not been saved yet.
    is_changed: bool,
    /// The head of our log at the last save.
    saved_at: u64,
}

/// The position up to which one log was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Position {
    pub(super) epoch: String,
    /// The id of the log's last event that is stored here.
    pub(super) id: Option<String>,
    /// The address from which the log is read.
    pub(super) address: String,
    /// The program's token, if it joined.
    pub(super) joined: Option<JoinToken>,
    /// The processes whose events were read, except those that are gone.
    pub(super) processes: BTreeSet<String>,
    /// The time of the last frame, in milliseconds since 1970.
    #[serde(rename = "heard")]
    pub(super) last_frame_millis: u64,
    /// An id in our log. The other log's events up to `id` are stored at or before it, and the
    /// events after `id` are stored behind it.
    pub(super) here: Option<String>,
    /// Whether events after `id` are being stored.
    #[serde(skip)]
    pub(super) is_storing: bool,
    #[serde(skip)]
    pub(super) is_gone: bool,
}

/// Whether all processes of a batch were known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processes {
    Known,
    New,
}

/// The token that a joined program requires from its reader.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct JoinToken {
    pub(super) token: String,
}

impl Position {
    pub(super) fn last_heard(&self) -> SystemTime {
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(self.last_frame_millis));
        time.unwrap_or(UNIX_EPOCH)
    }
}

impl Positions {
    pub(super) fn get(&self, epoch: &str) -> Option<Position> {
        self.lock().positions.get(epoch).cloned()
    }

    /// Adds a position from an earlier run.
    pub(super) fn restore(&self, position: Position) {
        let mut known = self.lock();
        let (address, epoch) = (position.address.clone(), position.epoch.clone());
        known.change(&epoch, |one| {
            *one = position;
            // The earlier run may have stored events after `id`, so `here` must not change.
            one.is_storing = true;
        });
        known.restored.insert(address, epoch);
    }

    /// Returns the position that an earlier run left for this address. A second call returns
    /// `None`.
    pub(super) fn take_restored(&self, address: &str) -> Option<Position> {
        let mut known = self.lock();
        let epoch = known.restored.remove(address)?;
        known.positions.get(&epoch).cloned()
    }

    /// Adds the position in a new log. No event after that position is stored yet.
    pub(super) fn add(&self, position: Position) {
        let epoch = position.epoch.clone();
        self.lock().change(&epoch, |one| {
            *one = position;
            one.last_frame_millis = millis(SystemTime::now());
        });
    }

    /// Records that events of these processes are being stored after the position.
    pub(super) fn begin<'a>(
        &self,
        epoch: &str,
        processes: impl Iterator<Item = &'a str>,
    ) -> Processes {
        let mut found = Processes::Known;
        self.lock().change(epoch, |position| {
            position.is_storing = true;
            for process in processes {
                let known = &mut position.processes;
                if !known.contains(process) && known.len() < PROCESSES_MAX {
                    known.insert(process.to_owned());
                    found = Processes::New;
                }
            }
        });
        found
    }

    /// Records that no events are stored after the position.
    pub(super) fn finish_storing(&self, epoch: &str) {
        self.lock()
            .change(epoch, |position| position.is_storing = false);
    }

    /// Adds processes of the log.
    pub(super) fn add_processes(&self, epoch: &str, processes: BTreeSet<String>) {
        self.lock()
            .change(epoch, |position| position.processes.extend(processes));
    }

    /// Records that all events up to `id` are stored here, the last one under the id `here`.
    pub(super) fn set(&self, epoch: &str, id: &str, here: Option<EventId>) {
        self.lock().change(epoch, |position| {
            position.id = Some(id.to_owned());
            position.last_frame_millis = millis(SystemTime::now());
            if let Some(here) = here {
                position.here = Some(here.to_string());
            }
            position.is_storing = false;
            position.is_gone = false;
        });
    }

    /// Records that the log's process is gone. Returns the processes that the log had.
    pub(super) fn gone(&self, epoch: &str) -> BTreeSet<String> {
        let mut known = self.lock();
        let Some(position) = known.positions.get_mut(epoch) else {
            return BTreeSet::new();
        };
        position.is_gone = true;
        let processes = std::mem::take(&mut position.processes);
        known.is_changed = true;
        processes
    }

    /// Returns the positions to save when the head of our log is `head`, or `None` if the last
    /// save is still good. If no events after a position are being stored, its `here` becomes
    /// `head`, because the next events will be stored behind `head`.
    pub(super) fn to_save(&self, head: EventId) -> Option<Vec<Position>> {
        let mut known = self.lock();
        let sequence = head.sequence().get();
        let followed = |position: &&mut Position| !position.is_gone;
        let is_due = known.is_changed
            || sequence > known.saved_at + EVENTS_BETWEEN_SAVES
                && known.positions.values_mut().any(|one| followed(&one));
        if !is_due {
            return None;
        }
        known.is_changed = false;
        known.saved_at = sequence;
        let positions = known.positions.values_mut().filter(followed);
        let positions = positions.map(|position| {
            let before = position.here.as_ref().and_then(|id| id.parse().ok());
            let is_later = before.is_none_or(|id: EventId| id.sequence() < head.sequence());
            if !position.is_storing && is_later {
                position.here = Some(head.to_string());
            }
            position.clone()
        });
        Some(positions.collect())
    }

    /// Requests another save after a failed one.
    pub(super) fn save_again(&self) {
        self.lock().is_changed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn change(&mut self, epoch: &str, change: impl FnOnce(&mut Position)) {
        self.is_changed = true;
        if let Some(position) = self.positions.get_mut(epoch) {
            change(position);
            return;
        }
        if self.order.len() >= LOGS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.positions.remove(&first);
        }
        let mut position = Position {
            epoch: epoch.to_owned(),
            ..Position::default()
        };
        change(&mut position);
        self.order.push_back(epoch.to_owned());
        self.positions.insert(epoch.to_owned(), position);
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(position: Option<Position>) -> Option<String> {
        position.and_then(|position| position.id)
    }

    fn here(text: &str) -> EventId {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_positions_are_remembered() {
        let positions = Positions::default();
        let address = "http://127.0.0.1:1/";
        positions.add(Position {
            epoch: "first".to_owned(),
            address: address.to_owned(),
            ..Position::default()
        });
        assert_eq!(id_of(positions.get("first")), None);
        positions.set("first", "first-1", None);
        positions.set("first", "first-2", None);
        assert_eq!(id_of(positions.get("first")).as_deref(), Some("first-2"));
        assert_eq!(positions.take_restored(address), None);
        positions.restore(positions.get("first").unwrap());
        let restored = id_of(positions.take_restored(address));
        assert_eq!(restored.as_deref(), Some("first-2"));
        assert_eq!(positions.take_restored(address), None);
        for number in 0..LOGS_MAX {
            positions.set(&number.to_string(), "id", None);
        }
        assert_eq!(positions.get("first"), None);
        assert_eq!(id_of(positions.get("0")).as_deref(), Some("id"));
        assert_eq!(positions.lock().positions.len(), LOGS_MAX);
    }

    #[test]
    fn a_saved_position_names_the_event_behind_which_the_next_ones_are_stored() {
        let positions = Positions::default();
        assert_eq!(positions.to_save(here("abcdefgh-5")), None);
        positions.set("busy", "busy-1", Some(here("abcdefgh-3")));
        positions.set("idle", "idle-1", Some(here("abcdefgh-4")));
        for found in [Processes::New, Processes::Known] {
            assert_eq!(positions.begin("busy", ["p1"].into_iter()), found);
        }
        let saved = |head: &str| {
            let saved = positions.to_save(here(head))?;
            let pairs = saved.into_iter().map(|one| (one.epoch, one.here.unwrap()));
            Some(pairs.collect::<Vec<_>>())
        };
        let pair = |epoch: &str, here: &str| (epoch.to_owned(), here.to_owned());
        let expected = [pair("busy", "abcdefgh-3"), pair("idle", "abcdefgh-9")];
        assert_eq!(saved("abcdefgh-9"), Some(expected.to_vec()));
        // Only the head has changed.
        assert_eq!(saved("abcdefgh-10009"), None);
        let expected = [pair("busy", "abcdefgh-3"), pair("idle", "abcdefgh-10010")];
        assert_eq!(saved("abcdefgh-10010"), Some(expected.to_vec()));
        assert_eq!(positions.gone("busy"), BTreeSet::from(["p1".to_owned()]));
        let expected = [pair("idle", "abcdefgh-10011")];
        assert_eq!(saved("abcdefgh-10011"), Some(expected.to_vec()));
    }
}
