//! Remembers the recently received log records. A log record has no id. So a repetition is
//! recognized by its whole request: the same records from the same sender in the same order. A
//! record that occurs twice in one request counts as two records. A record without any time never
//! counts as a repetition, because two such records may be equal by chance. Pure; the worker uses
//! it.

use crate::{
    otlp::recent::{ends::event_hash, recent_keys::RecentKeys},
    util::hash::Map,
};

#[derive(Debug)]
pub(in crate::otlp) struct RecentLogs {
    /// The records, by the hash of the request and the record's place in it.
    taken: RecentKeys<()>,
    /// The number of records added to `taken`, counted only until `stored` is forgotten.
    count: usize,
    max: usize,
    /// The number of events from an earlier run, by their hash. They are forgotten once `max`
    /// records were received.
    stored: Map<u64, u32>,
}

/// The log record was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::otlp) struct RepeatedLog;

impl RecentLogs {
    pub(in crate::otlp) fn new(max: usize) -> Self {
        Self {
            taken: RecentKeys::new(max),
            count: 0,
            max,
            stored: Map::default(),
        }
    }

    /// Adds a log record that an earlier run stored.
    pub(in crate::otlp) fn add_stored(&mut self, event: &[u8]) {
        *self.stored.entry(event_hash(event)).or_default() += 1;
    }

    /// Remembers a record. Returns an error if it was received before, in this run or in an earlier
    /// one. `event` creates the record's event. It is called only while there are events of an
    /// earlier run to compare with.
    pub(in crate::otlp) fn take(
        &mut self,
        key: u64,
        event: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), RepeatedLog> {
        if self.taken.get(key).is_some() {
            return Err(RepeatedLog);
        }
        self.taken.insert(key, ());
        if self.stored.is_empty() {
            return Ok(());
        }
        self.count += 1;
        let is_stored = event().is_some_and(|event| self.take_stored(event_hash(&event)));
        if self.count >= self.max {
            self.stored = Map::default();
        }
        if is_stored { Err(RepeatedLog) } else { Ok(()) }
    }

    /// Forgets a record because the store has rejected it.
    pub(in crate::otlp) fn forget(&mut self, key: u64) {
        self.taken.remove(key);
    }

    /// Removes one stored event with this hash. Returns whether there was one.
    fn take_stored(&mut self, hash: u64) -> bool {
        let Some(count) = self.stored.get_mut(&hash) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.stored.remove(&hash);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: fn() -> Option<Vec<u8>> = || None;

    #[test]
    fn a_record_is_repeated_until_it_is_forgotten() {
        let mut logs = RecentLogs::new(4);
        assert_eq!(logs.take(1, NONE), Ok(()));
        assert_eq!(logs.take(1, NONE), Err(RepeatedLog));
        logs.forget(1);
        assert_eq!(logs.take(1, NONE), Ok(()));
        for key in 2..=5 {
            assert_eq!(logs.take(key, NONE), Ok(()));
        }
        // The bound is exceeded, so the oldest record is no longer known.
        assert_eq!(logs.take(1, NONE), Ok(()));
    }

    #[test]
    fn each_stored_event_marks_only_one_record_as_repeated() {
        let mut logs = RecentLogs::new(100);
        let event = |body: &str| Some(format!(r#"{{"type":"log","body":"{body}"}}"#).into_bytes());
        for body in ["a", "a", "b"] {
            logs.add_stored(&event(body).unwrap());
        }
        let taken = [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (1, "a")]
            .map(|(key, body)| logs.take(key, || event(body)));
        let again = Err(RepeatedLog);
        assert_eq!(taken, [again, again, Ok(()), again, again]);
        assert!(logs.stored.is_empty());
    }

    #[test]
    fn stored_events_are_forgotten_when_as_many_records_have_come() {
        let mut logs = RecentLogs::new(2);
        logs.add_stored(b"{}");
        for key in 1..=2 {
            assert_eq!(logs.take(key, NONE), Ok(()));
        }
        assert_eq!(logs.take(3, || Some(b"{}".to_vec())), Ok(()));
    }
}
