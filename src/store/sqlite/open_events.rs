//! The opening events that are still open, kept in memory because retention looks up each event that it passes. The
//! writer uses them.
//!
//! The file's table is updated only every few thousand events, so an event that opens and closes in between is never
//! written to it.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, params};

use crate::{
    log::retention::Retention,
    store::sqlite::schema::{int, number},
};

/// A token and its owner: the stream's number, or for a global event the negative first sequence of its epoch, because
/// each epoch has its own tokens of global events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PinKey {
    pub(crate) owner: i64,
    pub(crate) token: u64,
    /// Whether the event has the state of the token. Otherwise it opens the token.
    pub(crate) is_state: bool,
}

impl PinKey {
    /// Returns the key of the event that opens this token.
    pub(crate) fn of(owner: i64, token: u64) -> Self {
        let is_state = false;
        Self {
            owner,
            token,
            is_state,
        }
    }

    fn state(self) -> Self {
        let is_state = true;
        Self { is_state, ..self }
    }

    /// Returns the table of such events.
    fn table(self) -> &'static str {
        if self.is_state {
            "pinned_state"
        } else {
            "pinned"
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenEvent {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    /// Whether the event was kept when retention passed it, because it was open. Set when the event is closed.
    pub(crate) is_kept: bool,
}

/// The events that are no longer kept for a token: its opening event, its state, both or none.
pub(crate) type Replaced = [Option<(PinKey, OpenEvent)>; 2];

#[derive(Debug, Default)]
pub(crate) struct OpenEvents {
    by_key: HashMap<PinKey, OpenEvent>,
    by_sequence: BTreeMap<u64, PinKey>,
    /// The number of states among the open events.
    states: usize,
    /// The number of open events of each stream, with their states.
    by_owner: HashMap<i64, usize>,
    /// The open events that are kept although retention has passed them, without those of carried streams. `kept_bytes`
    /// is their size.
    kept: HashSet<u64>,
    kept_bytes: u64,
    /// The file's table has all changes up to this sequence, except for the keys in `stale`.
    checked: u64,
    stale: Vec<PinKey>,
}

impl OpenEvents {
    /// Reads the table as of `checked`. The caller must apply the later events.
    pub(crate) fn load(
        connection: &Connection,
        checked: u64,
        oldest: u64,
        is_carried: impl Fn(i64, u64) -> bool,
    ) -> rusqlite::Result<Self> {
        let mut set = Self {
            checked,
            ..Self::default()
        };
        let mut statement = connection.prepare_cached(
            "SELECT owner, token, sequence, bytes, 0 FROM pinned
             UNION ALL SELECT owner, token, sequence, bytes, 1 FROM pinned_state",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = PinKey {
                owner: row.get(0)?,
                token: row.get::<_, i64>(1)?.cast_unsigned(),
                is_state: row.get(4)?,
            };
            let opened = OpenEvent {
                sequence: number(row.get(2)?),
                bytes: number(row.get(3)?),
                is_kept: false,
            };
            if opened.sequence < oldest && !is_carried(key.owner, opened.sequence) {
                set.kept.insert(opened.sequence);
                set.kept_bytes += opened.bytes;
            }
            set.insert(key, opened);
        }
        Ok(set)
    }

    pub(crate) fn checked(&self) -> u64 {
        self.checked
    }

    /// Adds an opening event. Returns the one that it replaces, with its state. Beyond the bound, the event is not
    /// added, and retention treats it like any other event.
    pub(crate) fn open(&mut self, key: PinKey, opened: OpenEvent) -> Replaced {
        if self.by_key.len() - self.states >= Retention::PINNED_EVENTS_MAX {
            return Replaced::default();
        }
        let replaced = self.close(key);
        self.insert(key, opened);
        replaced
    }

    /// Adds the state of an open token. Returns the state that it replaces. Does nothing if the token is not open, or
    /// is a token of global events.
    pub(crate) fn set_state(&mut self, key: PinKey, event: OpenEvent) -> Replaced {
        if key.owner <= 0 || !self.by_key.contains_key(&key) {
            return Replaced::default();
        }
        let key = key.state();
        let replaced = self.remove(key);
        self.insert(key, event);
        [replaced, None]
    }

    fn insert(&mut self, key: PinKey, opened: OpenEvent) {
        self.by_key.insert(key, opened);
        self.by_sequence.insert(opened.sequence, key);
        self.states += usize::from(key.is_state);
        *self.by_owner.entry(key.owner).or_default() += 1;
    }

    /// Returns the streams with open events that are kept although retention has passed them.
    pub(crate) fn streams_with_kept(&self) -> impl Iterator<Item = i64> {
        let keys = self
            .kept
            .iter()
            .filter_map(|kept| self.by_sequence.get(kept));
        keys.map(|key| key.owner).filter(|owner| *owner > 0)
    }

    /// Returns the streams with open events.
    pub(crate) fn streams(&self) -> impl Iterator<Item = i64> {
        self.by_owner.keys().copied().filter(|owner| *owner > 0)
    }

    /// Returns whether the stream has open events.
    pub(crate) fn is_open(&self, stream: i64) -> bool {
        self.by_owner.contains_key(&stream)
    }

    /// Removes an opening event and its state. Returns them.
    pub(crate) fn close(&mut self, key: PinKey) -> Replaced {
        let opened = self.remove(key);
        let has_states = self.states > 0 && !key.is_state;
        [
            opened,
            has_states.then(|| self.remove(key.state())).flatten(),
        ]
    }

    fn remove(&mut self, key: PinKey) -> Option<(PinKey, OpenEvent)> {
        let mut closed = self.by_key.remove(&key)?;
        closed.is_kept = self.kept.remove(&closed.sequence);
        self.by_sequence.remove(&closed.sequence);
        self.states -= usize::from(key.is_state);
        if let Some(open) = self.by_owner.get_mut(&key.owner) {
            *open -= 1;
            if *open == 0 {
                self.by_owner.remove(&key.owner);
            }
        }
        if closed.is_kept {
            self.kept_bytes = self.kept_bytes.saturating_sub(closed.bytes);
        }
        if closed.sequence <= self.checked {
            self.stale.push(key);
        }
        Some((key, closed))
    }

    /// Called when retention is about to pass this event. Returns whether retention must keep it. If there is no room
    /// for its bytes, the event no longer counts as open.
    pub(crate) fn keep(&mut self, sequence: u64) -> bool {
        let Some(key) = self.by_sequence.get(&sequence).copied() else {
            return false;
        };
        let bytes = self.by_key.get(&key).map_or(0, |opened| opened.bytes);
        let bytes_max = if key.is_state {
            Retention::STATE_BYTES_MAX
        } else {
            Retention::PINNED_BYTES_MAX
        };
        if self.kept_bytes + bytes > bytes_max as u64 {
            // A state that is kept already stays, without its opening event, until the token is closed.
            self.remove(key);
            return false;
        }
        self.kept.insert(sequence);
        self.kept_bytes += bytes;
        true
    }

    /// Returns the open events before a sequence, oldest first.
    pub(crate) fn before(&self, sequence: u64) -> impl Iterator<Item = (u64, PinKey)> {
        self.within(0, sequence)
    }

    /// Returns the open events in `first..end`, oldest first.
    pub(crate) fn within(&self, first: u64, end: u64) -> impl Iterator<Item = (u64, PinKey)> {
        self.by_sequence
            .range(first..end.max(first))
            .map(|(sequence, key)| (*sequence, *key))
    }

    /// Writes all changes up to `head` to the file's table.
    pub(crate) fn checkpoint(
        &mut self,
        connection: &Connection,
        head: u64,
    ) -> rusqlite::Result<()> {
        for key in self.stale.drain(..) {
            let table = key.table();
            let delete = format!("DELETE FROM {table} WHERE owner = ?1 AND token = ?2");
            connection
                .prepare_cached(&delete)?
                .execute(params![key.owner, key.token.cast_signed()])?;
        }
        for (sequence, key) in self.by_sequence.range(self.checked + 1..) {
            let bytes = self.by_key.get(key).map_or(0, |opened| opened.bytes);
            let insert = format!("INSERT INTO {} VALUES(?1, ?2, ?3, ?4)", key.table());
            connection.prepare_cached(&insert)?.execute(params![
                key.owner,
                key.token.cast_signed(),
                int(*sequence),
                int(bytes)
            ])?;
        }
        self.checked = head;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: i64, token: u64) -> PinKey {
        PinKey::of(owner, token)
    }

    fn opened(sequence: u64) -> OpenEvent {
        OpenEvent {
            sequence,
            bytes: 10,
            is_kept: false,
        }
    }

    fn table(connection: &Connection) -> Vec<(i64, i64, i64)> {
        let mut statement = connection
            .prepare("SELECT owner, token, sequence FROM pinned")
            .unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn only_events_that_stay_open_are_written_to_the_table() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE pinned(owner, token, sequence, bytes, PRIMARY KEY(owner, token)) WITHOUT ROWID;
                 CREATE TABLE pinned_state(owner, token, sequence, bytes, PRIMARY KEY(owner, token)) WITHOUT ROWID;",
            )
            .unwrap();
        let mut set = OpenEvents::default();
        assert_eq!(set.open(key(1, 7), opened(1)), [None; 2]);
        assert_eq!(set.open(key(1, u64::MAX), opened(2)), [None; 2]);
        assert_eq!(set.close(key(1, 7)), [Some((key(1, 7), opened(1))), None]);
        set.checkpoint(&connection, 2).unwrap();
        assert_eq!(table(&connection), [(1, -1, 2)]);
        let replaced = Some((key(1, u64::MAX), opened(2)));
        assert_eq!(set.open(key(1, u64::MAX), opened(3)), [replaced, None]);
        assert_eq!(set.open(key(-1, 7), opened(4)), [None; 2]);
        set.checkpoint(&connection, 4).unwrap();
        assert_eq!(table(&connection), [(-1, 7, 4), (1, -1, 3)]);
        let read = OpenEvents::load(&connection, 4, 4, |_, _| false).unwrap();
        assert_eq!(read.by_key, set.by_key);
        assert_eq!(read.by_sequence, set.by_sequence);
        assert_eq!(read.kept_bytes, 10);
    }

    #[test]
    fn kept_events_are_bounded_in_number_and_bytes() {
        let mut set = OpenEvents::default();
        for token in 0..=Retention::PINNED_EVENTS_MAX as u64 {
            set.open(key(1, token), opened(token + 1));
        }
        assert_eq!(set.by_key.len(), Retention::PINNED_EVENTS_MAX);
        assert!(!set.keep(Retention::PINNED_EVENTS_MAX as u64 + 1));
        let large = OpenEvent {
            sequence: 1_000_000,
            bytes: Retention::PINNED_BYTES_MAX as u64,
            is_kept: false,
        };
        set.close(key(1, 1));
        set.open(key(1, 1), large);
        assert!(set.keep(1));
        assert!(!set.keep(1_000_000));
        assert_eq!(set.close(key(1, 1)), [None; 2]);
        let kept = OpenEvent {
            is_kept: true,
            ..opened(1)
        };
        assert_eq!(set.close(key(1, 0)), [Some((key(1, 0), kept)), None]);
        assert_eq!(set.kept_bytes, 0);
    }
}
