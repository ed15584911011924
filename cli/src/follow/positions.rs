//! How far each log was read. A program that announces itself a second time, even after its stream has ended, is read on
//! from there. Nothing of it is taken twice.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Upper bound on the logs whose positions are remembered. The one that was added first is forgotten first.
const LOGS_MAX: usize = 4_096;

/// The id of the last event that is stored here, by the epoch of the log that it comes from.
#[derive(Debug, Default)]
pub(super) struct Positions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    ids: BTreeMap<String, String>,
    order: VecDeque<String>,
}

impl Positions {
    pub(super) fn get(&self, epoch: &str) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.ids.get(epoch).cloned()
    }

    pub(super) fn set(&self, epoch: &str, id: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = known.ids.get_mut(epoch) {
            id.clone_into(position);
            return;
        }
        if known.order.len() >= LOGS_MAX
            && let Some(first) = known.order.pop_front()
        {
            known.ids.remove(&first);
        }
        known.order.push_back(epoch.to_owned());
        known.ids.insert(epoch.to_owned(), id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_positions_are_remembered() {
        let positions = Positions::default();
        positions.set("first", "first-1");
        positions.set("first", "first-2");
        assert_eq!(positions.get("first").as_deref(), Some("first-2"));
        for number in 0..LOGS_MAX {
            positions.set(&number.to_string(), "id");
        }
        assert_eq!(positions.get("first"), None);
        assert_eq!(positions.get("0").as_deref(), Some("id"));
        assert_eq!(positions.0.lock().unwrap().ids.len(), LOGS_MAX);
    }
}
